"""Exchange: models to and from PyTorch, and to ONNX. Both are imported only where they are needed."""

from fastreg.common.names import missing as _missing
from fastreg.exchange.incoming import from_torch
from fastreg.exchange.onnx_model import to_onnx
from fastreg.exchange.outgoing import to_torch
from fastreg.exchange.states import load_torch_state, torch_state

__all__ = ["from_torch", "load_torch_state", "to_onnx", "to_torch", "torch_state"]

__getattr__ = _missing(__name__, __all__)
