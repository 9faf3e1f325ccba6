"""The libraries that train the workloads. Each module has a class `Peer` that trains whole epochs.

    peer = Peer(workload, X, y, parameters, variant)
    peer.epochs(count)      trains `count` epochs, as fast as the library can, with new order, gather and loss
    peer.in_order()         trains one epoch on the rows in their given order
    peer.parameters()       the current [(weight (inputs, units), bias), ...]
    peer.versions()         what the library runs on: versions, SIMD level

VARIANTS of a class are the ways to run it; the fastest one counts. `lacks(workload)` says what it leaves out of a
workload: "" for nothing, or None if it cannot train it at all.
"""

from importlib import import_module
from importlib.util import find_spec

# name -> the package that it needs
PEERS = {"numpy": "numpy", "sklearn": "sklearn", "torch": "torch", "jax": "jax"}
# In bfloat16: fastreg itself, and PyTorch.
ROUNDING = {"fastreg_bfloat16": "fastreg", "torch_bfloat16": "torch"}

# Other ways to start a process than the plain one. If Linux puts two OpenMP threads on one processor, they spin while
# they wait for each other, and a step of PyTorch takes a hundred times as long. Bound threads stay apart.
BOUND = {"bound": {"OMP_PROC_BIND": "true"}}
ENVIRONMENTS = {"torch": BOUND, "torch_bfloat16": BOUND}


def is_installed(name: str) -> bool:
    return find_spec((PEERS | ROUNDING).get(name, "fastreg")) is not None


def peer_class(name: str):
    """The class of a peer, or of fastreg itself. Imports its library."""
    return import_module(f"peers.{name}_peer").Peer


def blas() -> str:
    """The BLAS that NumPy uses and the kernels that it chose, if threadpoolctl knows them."""
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
