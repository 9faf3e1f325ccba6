"""The worker process of bench/epochs.py: it trains one library, so that none disturbs another.

Each command is a line of JSON on standard input, and so is each answer on standard output. Nothing runs in between.
"""

import gc
import json
import os
import sys
import time
import traceback

from peers import peer_class
from workloads import loss_of, make

import fastreg as fr
from fastreg.machine.peak import fma_peak, stream_bandwidth


def serve(commands, answers):
    peer, workload, data = None, None, None
    for line in commands:
        command = json.loads(line)
        answer = {}
        try:
            match command["do"]:
                case "build":
                    peer = None
                    gc.collect()
                    peer, workload, data = _build(**command["what"])
                    answer = {"versions": peer.versions(), "lacks": peer.lacks(workload)}
                case "epochs":
                    gc.collect()
                    start = time.perf_counter()
                    peer.epochs(command["count"])
                    answer = {"seconds": time.perf_counter() - start}
                case "losses":
                    answer = {"losses": [_loss_behind_an_epoch(peer, workload, data) for _ in range(command["count"])]}
                case "lacks":
                    answer = {"lacks": peer_class(command["peer"]).lacks(make(**command["workload"]))}
                case "variants":
                    answer = {"variants": peer_class(command["peer"]).VARIANTS}
                case "peaks":
                    answer = _peaks()
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)


def _build(peer, variant, workload):
    workload = make(**workload)
    data = workload.data()
    return peer_class(peer)(workload, *data, workload.parameters(), variant), workload, data


def _loss_behind_an_epoch(peer, workload, data):
    peer.in_order()
    return loss_of(workload, peer.parameters(), *data)


def _peaks():
    threads = fr.get_num_threads()
    return {"peak": fma_peak(threads), "bandwidth": stream_bandwidth(threads), "threads": threads}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints goes to standard error
    serve(sys.stdin, answers)
