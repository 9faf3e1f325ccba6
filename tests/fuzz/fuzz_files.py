"""A fuzzer of model files and checkpoints: python tests/fuzz/fuzz_files.py --count 1000000 --corpus tests/fuzz/corpus

It damages real files in every way that a file can be damaged and holds the readers to their promise:

- Reading ends in a FileFormatError or in a clean read, for a checkpoint also in the ValueError of one that belongs to
  another training; within a second of processor time, and without memory that the size of the file does not explain.
- What is read is what the file says: a second, plain parser and the safetensors package find the same tensors, a model
  has exactly the config of its file, and a checkpoint gives the state and the counters that stand in it.

A file that got another answer than all before it joins those that are damaged further; under --corpus it is kept there,
and the files there are where a run begins. A file that breaks the promise is kept, too, as bad-*.safetensors, and ends
the run. test_fuzz.py runs a slice of this.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from mutations import mutate

import fastreg as fr
from fastreg.callbacks.argument import gather
from fastreg.common import checksum
from fastreg.common.names import plain
from fastreg.common.safetensors import DTYPES
from fastreg.layers import ACTIVATIONS
from fastreg.model.dataset import checked
from fastreg.model.files import (
    CHECKPOINT_KEY,
    CHECKPOINT_PREFIX,
    MODEL_KEY,
    FileFormatError,
    model_of,
    read_tensors,
    write_tensors,
)
from fastreg.training.epochs import make_plan
from fastreg.training.resume import resume

try:
    import safetensors
except ImportError:  # then the plain parser below is the only witness
    safetensors = None

SECONDS = 1.0  # of processor time for a file
ROOM = (
    256 << 20
)  # bytes of address space for a file: a claim in a header is far above it, or a mistake that costs little
X = np.random.default_rng(0).normal(size=(12, 4)).astype("f4")
Y = np.arange(12) % 3


class Broken(Exception):
    """The readers broke their promise."""


def require(holds, what: str) -> None:
    if not holds:
        raise Broken(what)


def new_trainer() -> tuple[fr.Trainer, list[fr.Callback]]:
    layers = [fr.Dropout(keep_prob=0.8), fr.Dense(5, activation="relu", l2=0.1, name="hidden"), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), optimizer=fr.Adam(0.01), threads=1)
    return trainer, [fr.EarlyStopping("loss", patience=3)]


def graph_model() -> fr.Model:
    """Two inputs and heads, a layer used twice, a tie, a skip."""
    a, b = fr.Input(4, name="a"), fr.Input(3, name="b")
    side = fr.Dense(3, "tanh", name="side")
    h = fr.Concatenate(name="both")([side(a), b])
    again = fr.Dense(4, name="back", tied_to="side", transposed=True)(side(a))
    top = fr.Add("relu", name="sum")(fr.Dense(4, name="skip")(h), again)
    model = fr.Model([a, b], {"kind": fr.Dense(3, name="kind")(top), "size": fr.Dense(1, name="size")(h)})
    trainer = fr.Trainer(model, loss={"kind": "softmax_cross_entropy", "size": "mse"}, loss_weights={"size": 0.5})
    trainer.fit({"a": X, "b": X[:, :3]}, {"kind": Y, "size": X[:, 0]}, epochs=1, verbose=0)
    return model


def seeds(folder: Path) -> list[bytes]:
    """Undamaged files of each kind."""
    trainer, callbacks = new_trainer()
    saving = fr.Checkpoint(folder / "checkpoint", save_best=False)
    trainer.fit(X, Y, epochs=2, batch_size=5, callbacks=[*callbacks, saving])
    trainer.model.save(folder / "model")
    other = fr.Sequential(
        [fr.data.Standardizer().fit(X), fr.GaussianNoise(0.1), fr.Dense(2, weight_init="lecun_normal")]
    )
    other.build(4, dtype="float64")
    other.save(folder / "other")
    graph_model().save(folder / "graph")
    table = {
        "a": [1.0, np.nan, 3.0],
        "b": ["x", "y", "x"],
        "c": ["2020-01-01", "2021-05-05", None],
        "y": [1.5, 2.5, 4.0],
    }
    schema = fr.data.infer_schema(fr.data.Table(table), target="y")
    raw = fr.Sequential([schema, fr.Dense(schema.outputs)])
    fr.Trainer(raw).fit(fr.data.Table(table))
    raw.save(folder / "raw")
    named = fr.Sequential([fr.Dense(2)])
    fr.Trainer(named).fit(X, ["no", "yes"] * (len(X) // 2) + ["no"] * (len(X) % 2))
    named.save(folder / "named")
    tensors = {dtype: np.ones((2, 3), DTYPES[dtype]) for dtype in DTYPES}
    write_tensors(folder / "tensors", {**tensors, "empty": np.zeros((0, 3)), "ä": np.array(2.5)}, {"a": '"\n', "b": ""})
    write_tensors(folder / "nothing", {})
    summed = (folder / "model").read_bytes()
    models = ("checkpoint", "model", "graph", "other", "raw", "named")
    for name in models:  # without their checksums, which would keep most of the damage from the later checks
        tensors, metadata = read_tensors(folder / name)
        del metadata[checksum.KEY]
        write_tensors(folder / name, tensors, metadata)
    return [summed, *((folder / name).read_bytes() for name in (*models, "tensors", "nothing"))]


class Readers:
    """All that reads files, each held to its promise."""

    def __init__(self, path: Path):
        self.path = path
        trainer, callbacks = new_trainer()
        trainer.model.build(4)
        trainer._session("train", 5, len(X), True)
        self.trainer, self.callbacks = trainer, gather(callbacks, 0)
        data = checked(trainer.model, trainer.arguments.tasks, trainer.dtype, X, Y)
        self.plan = make_plan(trainer, data, None, 3, 5, True, self.callbacks)
        for callback in self.callbacks:
            callback.trainer, callback.plan = trainer, self.plan

    def answer(self, content: bytes) -> str:
        """What the readers say about a file, in a few words."""
        self.path.write_bytes(content)
        try:
            tensors, metadata = read_tensors(self.path)
        except FileFormatError as error:
            return told(error, self.path)
        require(sum(array.nbytes for array in tensors.values()) <= len(content), "more bytes than the file has")
        same_tensors(content, tensors, metadata)
        try:
            model = model_of(tensors, metadata)  # the second half of fastreg.load
        except FileFormatError as error:
            return f"tensors; model: {told(error, self.path)}"
        same_model(model, tensors, metadata)
        try:
            _, saved = resume(os.fspath(self.path), self.trainer, self.plan, 9, X.shape[1:])
        except ValueError as error:
            return f"model; checkpoint: {told(error, self.path)}"
        header = json.loads(metadata[CHECKPOINT_KEY])
        for name in ("epoch", "step", "updates", "stopped"):
            require(getattr(saved, name) == header[name], f"another {name}")
        for name, values in saved.state.items():
            require(same(values, tensors[f"{CHECKPOINT_PREFIX}state/{name}"]), f"another {name}")
        try:
            saved.restore(self.trainer, self.callbacks)
        except FileFormatError as error:
            return f"model; checkpoint: {told(error, self.path)}"
        return "checkpoint"


def told(error: ValueError, path: Path) -> str:
    """The message without the parts that differ from file to file."""
    cause: BaseException | None = error
    while cause is not None:
        require(not isinstance(cause, (MemoryError, Broken)), f"a claim took memory: {error}")
        cause = cause.__cause__
    text = str(error)
    require("\n" not in text and len(text) < 1000, f"no short line: {text!r}")
    text = str(error).replace(f"{path}: ", "").replace(os.fspath(path), "_")
    text = re.split(r": got|, expected", text)[0]
    return re.sub(r"(?<!\w)'(\\.|[^'\\])*'|\"[^\"]*\"|[\[({].*|-?\d[\d.e+]*|True|False|None", "_", text)[:48]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def same_tensors(content: bytes, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Two other readers of the format find the same."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    require(header.pop("__metadata__", {}) == metadata, "other metadata")
    require(header.keys() == tensors.keys(), "other names")
    covered = 0
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        covered += end - start
        data = content[8 + length + start : 8 + length + end]
        expected = np.frombuffer(data, DTYPES[entry["dtype"]]).reshape(entry["shape"])
        require(same(tensors[name], expected), f"other values of {name!r}")
    require(8 + length + covered == len(content), "bytes that belong to no tensor")
    if safetensors is not None:
        try:
            found = dict(safetensors.deserialize(content))
        except safetensors.SafetensorError as error:
            raise Broken(f"the safetensors package: {error}") from None
        require(found.keys() == tensors.keys(), "the safetensors package: other names")
        for name, entry in found.items():
            array = tensors[name]
            require(DTYPES[entry["dtype"]] == array.dtype, f"the safetensors package: another dtype of {name!r}")
            require(tuple(entry["shape"]) == array.shape, f"the safetensors package: another shape of {name!r}")
            require(bytes(entry["data"]) == array.tobytes(), f"the safetensors package: other values of {name!r}")


def same_model(model: fr.Sequential, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """The model is that of the file, and usable."""
    config = json.loads(metadata[MODEL_KEY])
    require(subset(config, model.config()), f"another config: {model.config()}, the file says {config}")
    require(json.loads(json.dumps(model.config())) == model.config(), "a config that JSON changes")
    stored = {name: value for name, value in tensors.items() if not name.startswith(CHECKPOINT_PREFIX)}
    own = model.state_dict()
    require(own.keys() == stored.keys(), "other parameters")
    for name, value in own.items():
        require(np.array_equal(value, stored[name].astype(value.dtype)), f"another {name}")
    require(all(np.isfinite(value).all() for value in own.values()), "parameters that are not finite")


def subset(said, meant) -> bool:
    """A file and the model agree. A value of the file may be missing, null, or as users may write it: l2=0.1, "zeros",
    "Tanh"."""
    if said is None:
        return True
    if isinstance(said, dict) and isinstance(meant, dict):
        return all(key in meant and subset(value, meant[key]) for key, value in said.items())
    if isinstance(said, list) and isinstance(meant, list):
        return len(said) == len(meant) and all(map(subset, said, meant))
    if isinstance(meant, dict):
        return any(subset(said, meant[key]) for key in ("lam", "name") if key in meant)
    if type(said) in (int, float) and type(meant) in (int, float):
        return float(said) == float(meant)
    if meant in ACTIVATIONS and isinstance(said, str):
        return plain(said) == plain(meant)
    return type(said) is type(meant) and said == meant


class Limits:
    """Ends what takes too long, and refuses memory beyond what the process has now and ROOM."""

    def __enter__(self):
        self.handler = signal.signal(signal.SIGPROF, self.late)
        self.memory = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        if not os.environ.get("LD_PRELOAD"):  # a sanitizer takes its terabytes whatever the file says
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, self.memory[1]))
        return self

    def late(self, *_):
        raise Broken(f"more than {SECONDS} s of processor time")

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self.handler)
        resource.setrlimit(resource.RLIMIT_AS, self.memory)


def pick(rng: random.Random, pool: list[bytes]) -> bytes:
    """A file to damage, more often an undamaged one."""
    return rng.choice(pool[: rng.choice((3, 5, 5, len(pool)))])


def name_of(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:12]}.safetensors"


def fuzz(count: int, seconds: float, seed: int, corpus: Path | None = None, log=None) -> Counter:
    """The answers to `count` files, or as many as fit into `seconds`; Broken where one breaks the promise."""
    answers: Counter[str] = Counter()
    rng = random.Random(seed)
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        pool = seeds(Path(folder))
        kept = sorted(corpus.glob("*.safetensors")) if corpus else []
        first = pool + [path.read_bytes() for path in kept]
        readers = Readers(Path(folder) / "file")
        for content in first:  # once without limits: what is imported late is imported now
            readers.answer(content)
        begin = shown = time.monotonic()
        with Limits():
            for number in range(count):
                content = first[number] if number < len(first) else mutate(rng, pick(rng, pool), pool)
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    answer = readers.answer(content)
                except Exception as error:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    bad = Path(corpus or tempfile.gettempdir()) / f"bad-{name_of(content)}"
                    bad.write_bytes(content)
                    raise Broken(f"file {number}, kept as {bad}: {type(error).__name__}: {error}") from error
                if answer not in answers and len(content) < 16_384:
                    pool.append(content)
                    if corpus and number >= len(first):
                        (corpus / name_of(content)).write_bytes(content)
                answers[answer] += 1
                now = time.monotonic()
                if log and now - shown > 30:
                    shown = now
                    log(f"{number + 1:,} files, {(number + 1) / (now - begin):,.0f} a second, {len(answers)} answers")
                if now - begin > seconds:
                    break
            signal.setitimer(signal.ITIMER_PROF, 0)
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="files")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="a folder of files to begin with; new kinds are added to it")
    options = parser.parse_args()
    if options.corpus:
        options.corpus.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, line_buffering=True)
    try:
        answers = fuzz(options.count, options.seconds, options.seed, options.corpus, print)
    except Broken as error:
        print(f"BROKEN: {error}")
        return 1
    taken, total = time.monotonic() - begin, sum(answers.values())
    for answer, number in answers.most_common():
        print(f"{number:9,}  {answer}")
    accepted = sum(
        number for answer, number in answers.items() if answer.startswith(("tensors", "model", "checkpoint"))
    )
    witness = "and the safetensors package" if safetensors else "alone (no safetensors package)"
    print(f"{total:,} files in {taken:.0f} s ({total / taken:,.0f} a second), seed {options.seed}: no promise broken.")
    print(f"Of {accepted:,} the tensors were accepted, and found the same by a second parser {witness}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
