"""A process that trains for bench/epochs.py: one library in one process, so that none disturbs another.

It reads a line of JSON for every command from standard input, and answers in one. Nothing runs between commands.
"""

import gc
import json
import os
import sys
import time
import traceback


def serve(commands, answers):
    peer, parameters_of = None, None
    for line in commands:
        command = json.loads(line)
        answer = {}
        try:
            match command["do"]:
                case "build":
                    peer = None
                    gc.collect()
                    peer, parameters_of = _build(**command["what"])
                    answer = peer.versions()
                case "epochs":
                    gc.collect()
                    start = time.perf_counter()
                    peer.epochs(command["count"])
                    answer = {"seconds": time.perf_counter() - start}
                case "losses":
                    answer = {"losses": [parameters_of(peer) for _ in range(command["count"])]}
                case "peaks":
                    answer = _peaks()
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)


def _build(peer, variant, workload):
    from peers import peer_class
    from workloads import loss_of, make

    workload = make(**workload)
    X, y = workload.data()
    built = peer_class(peer)(workload, X, y, workload.parameters(), variant)

    def loss_behind_an_epoch(peer):
        peer.in_order()
        return loss_of(workload, peer.parameters(), X, y)

    return built, loss_behind_an_epoch


def _peaks():
    import fastreg as fr
    from fastreg.peak import fma_peak, stream_bandwidth

    threads = fr.get_num_threads()
    return {"peak": fma_peak(threads), "bandwidth": stream_bandwidth(threads), "threads": threads}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    serve(sys.stdin, answers)
