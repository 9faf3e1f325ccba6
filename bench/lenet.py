"""A LeNet on images of MNIST's size: fastreg against PyTorch, and how well it learns MNIST.

    python bench/lenet.py                     # speed: pairs of measurements, A B A B, for each way to run PyTorch
    python bench/lenet.py --padding valid
    python bench/lenet.py --busy              # one thread each, by processor time: where other work shares the machine
    python bench/lenet.py --mnist FOLDER      # learning: the IDX files of MNIST; the time, and the share that is right

The network is that of McMahan et al. (Communication-efficient learning, 2017): 32 and 64 filters of 5 x 5, each with
ReLU and max-pooling 2 x 2, then Dense 512 with ReLU and Dense 10; batches of 128; Adam. With padding "same", as there,
it has 1,663,370 parameters, and a step takes 9.3 GFLOP; with "valid" 0.6 million and 3.2 GFLOP.

Each library has its own process, in which no environment variable slows it down, and all processors. The ratio is the
median over the pairs, with a 95 % bootstrap interval. The share of the peak is that of fastreg's products: the least
number of operations over time and the peak of the machine's multiply-adds, which is measured in turns too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from paired import Steal, ratio_interval

BATCH, SIDE = 128, 28
VARIANTS = ("eager", "eager channels_last", "compile", "compile channels_last")


def flops(padding):
    """Of the matrix products of a step: forward, and both ways back but that to the images."""
    first, second = (28, 14) if padding == "same" else (24, 8)
    flat = 64 * (second // 2) ** 2
    forward = [first**2 * 25 * 32, second**2 * 25 * 32 * 64, flat * 512, 512 * 10]
    return 2 * BATCH * (3 * sum(forward) - forward[0])


def network(fr, padding, rate=0.0):
    """The layers, with dropout before the last one where `rate` is not 0."""
    layers = [
        fr.Conv2D(32, 5, "relu", padding=padding),
        fr.MaxPool2D(2),
        fr.Conv2D(64, 5, "relu", padding=padding),
        fr.MaxPool2D(2),
        fr.Flatten(),
        fr.Dense(512, "relu"),
        *([fr.Dropout(rate=rate)] if rate else []),
        fr.Dense(10),
    ]
    return fr.Sequential(layers)


def data(rows, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((rows, SIDE, SIDE), np.float32), rng.integers(0, 10, rows)


class Fastreg:
    def __init__(self, padding, steps):
        import fastreg as fr

        self.X, self.y = data(BATCH * steps)
        self.trainer = fr.Trainer(network(fr, padding), loss="softmax_cross_entropy", optimizer=fr.Adam(1e-3), seed=0)

    def run(self):
        self.trainer.fit(self.X, self.y, epochs=1, batch_size=BATCH, verbose=0)


class Torch:
    def __init__(self, padding, steps, variant):
        import torch
        from torch import nn

        torch.manual_seed(0)
        self.torch, pad = torch, 2 if padding == "same" else 0
        flat = 64 * (7 if padding == "same" else 4) ** 2
        convs = [nn.Conv2d(1, 32, 5, padding=pad), nn.ReLU(), nn.MaxPool2d(2)]
        convs += [nn.Conv2d(32, 64, 5, padding=pad), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*convs, nn.Flatten(), nn.Linear(flat, 512), nn.ReLU(), nn.Linear(512, 10))
        form = torch.channels_last if "channels_last" in variant else torch.contiguous_format
        model = model.to(memory_format=form)
        X, y = data(BATCH * steps)
        self.X = torch.from_numpy(X)[:, None].contiguous(memory_format=form)
        self.y = torch.from_numpy(y)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def loss(index):
            return nn.functional.cross_entropy(model(self.X[index]), self.y[index])

        self.loss = torch.compile(loss) if "compile" in variant else loss

    def run(self):
        total = self.torch.zeros(())
        for index in self.torch.randperm(len(self.X)).split(BATCH):
            loss = self.loss(index)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
        return total.item()


class Peak:
    """Multiply-adds of fastreg, in GFLOP/s: on all threads, or by processor time on one."""

    def __init__(self, busy):
        import fastreg as fr
        from fastreg.machine.peak import fma_peak

        self.measure = self.one if busy else lambda: fma_peak(fr.get_num_threads())

    @staticmethod
    def one():
        from fastreg.machine import _core

        start = time.process_time()
        return _core.fma_loop("float32", 20_000_000)[0] / (time.process_time() - start) / 1e9

    def run(self):
        return self.measure()


def serve(what, busy):
    """A worker process: runs once for each line on standard input, and answers with the seconds."""
    clock = time.process_time if busy else time.perf_counter
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints goes to standard error
    made = {"fastreg": Fastreg, "torch": Torch, "peak": Peak}[what[0]](*what[1:])
    for _ in sys.stdin:
        start = clock()
        result = made.run()
        print(json.dumps([clock() - start, result]), file=answers, flush=True)


class Worker:
    def __init__(self, *what, busy=False):
        from fastreg.benchmarks.environment import free_environment

        command = [sys.executable, __file__, "--serve", json.dumps(what), *(["--busy"] if busy else [])]
        threads = {"OMP_NUM_THREADS": "1", "FASTREG_NUM_THREADS": "1"} if busy else {}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=free_environment() | threads)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        time.sleep(0.1)  # threads of OpenMP spin for a while after their work
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def speed(options):
    steps, work = options.steps, flops(options.padding)
    how = {"busy": options.busy}
    ours, peak = Worker("fastreg", options.padding, steps, **how), Worker("peak", options.busy, **how)
    print(f"padding {options.padding}: {work / 1e9:.2f} GFLOP a step of {BATCH} images; {options.pairs} pairs")
    for variant in options.variants:
        theirs, steal = Worker("torch", options.padding, steps, variant, **how), Steal()
        for worker in (ours, theirs, ours, theirs):  # warm, compiled
            worker.run()
        mine, other, rates = [], [], []
        for _ in range(options.pairs):
            mine.append(ours.run()[0] / steps)
            other.append(theirs.run()[0] / steps)
            rates.append(peak.run()[1])
        theirs.close()
        ratio, low, high = ratio_interval(mine, other)
        took, top = float(np.median(mine)), float(np.median(rates))
        print(
            f"{variant:22} fastreg {1e3 * took:6.1f} ms, PyTorch {1e3 * float(np.median(other)):6.1f} ms a step: "
            f"{ratio:.2f}x [{low:.2f}, {high:.2f}]; fastreg at {work / took / 1e9:.0f} GFLOP/s, "
            f"{100 * work / took / 1e9 / top:.0f} % of {top:.0f}; steal {100 * (steal.share() or 0):.0f} %",
            flush=True,
        )
    ours.close()
    peak.close()


def learn(options):
    import fastreg as fr

    (X, y), (X_test, y_test) = fr.data.read(options.mnist)
    model = network(fr, options.padding, rate=0.5)
    steps = options.epochs * -(-len(X) // BATCH)
    optimizer = fr.Adam(fr.schedules.OneCycle(3e-3, steps))
    how = {"loss": "softmax_cross_entropy", "metrics": ("accuracy",), "seed": options.seed}
    trainer = fr.Trainer(model, optimizer=optimizer, **how)
    start = time.perf_counter()
    trainer.fit(X / np.float32(255), y, epochs=options.epochs, batch_size=BATCH)
    took, result = time.perf_counter() - start, trainer.evaluate(X_test / np.float32(255), y_test)
    print(f"{options.epochs} epochs in {took:.0f} s: {100 * result['accuracy']:.2f} % of the test images are right")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--padding", choices=("same", "valid"), default="same")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--steps", type=int, default=8, help="of a measurement (8)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="train on the IDX files there")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--busy", action="store_true", help="one thread each, by processor time")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(json.loads(options.serve), options.busy)
    elif options.mnist:
        learn(options)
    else:
        speed(options)


if __name__ == "__main__":
    main()
