"""Exchange: models to and from PyTorch. It is imported only when a function is called that needs it."""

from fastreg.common.names import missing as _missing
from fastreg.exchange.incoming import from_torch
from fastreg.exchange.outgoing import to_torch
from fastreg.exchange.states import load_torch_state, torch_state

__all__ = ["from_torch", "load_torch_state", "to_torch", "torch_state"]

__getattr__ = _missing(__name__, __all__)
