"""The libraries that train the workloads, one module each: a class `Peer` that trains whole epochs.

    peer = Peer(workload, X, y, parameters, variant)
    peer.epochs(count)      trains `count` epochs, as fast as the library can: new order, gather, loss and all
    peer.in_order()         trains one epoch on the rows as they come
    peer.parameters()       [(weight (inputs, units), bias), ...] as they stand
    peer.versions()         what it runs on: versions, SIMD level

A class tells VARIANTS, the ways to run it of which the fastest counts, and `lacks(workload)`: what of a workload it
leaves out, "" for nothing, or None where it cannot do it at all.
"""

from importlib import import_module
from importlib.util import find_spec

# name -> the distribution that it needs
PEERS = {"numpy": "numpy", "sklearn": "sklearn", "torch": "torch", "jax": "jax"}

# Ways to start a process beside the plain one. When Linux has put two OpenMP threads on one processor, they spin for
# each other's turn, and a step of PyTorch takes a hundred times as long; bound threads stay apart.
ENVIRONMENTS = {"torch": {"bound": {"OMP_PROC_BIND": "true"}}}


def is_installed(name: str) -> bool:
    return find_spec(PEERS.get(name, "fastreg")) is not None


def peer_class(name: str):
    """The class of a peer, or of fastreg itself; imports its library."""
    return import_module(f"peers.{name}_peer").Peer


def blas() -> str:
    """The BLAS that NumPy uses and the kernels that it chose, where threadpoolctl can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown"
    found = [
        f"{lib['internal_api']} {lib['version']} ({lib.get('architecture', '?')}, {lib['num_threads']} threads)"
        for lib in threadpool_info()
        if lib["user_api"] == "blas"
    ]
    return ", ".join(found) or "unknown"
