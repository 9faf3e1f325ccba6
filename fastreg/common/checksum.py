"""A checksum in the metadata of a model file or checkpoint. It tells a damaged file, which may look whole otherwise.

It covers the names, dtypes, shapes and values of all tensors and all other metadata, not the bytes of the file. So
another program may write the same contents again in another order. A file without a checksum is read as it is: older
versions wrote none, and others who write safetensors files need not know of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from fastreg.common.fileio import FileFormatError
from fastreg.common.pieces import BYTES_AT_ONCE, pieces

KEY = "fastreg.checksum"


def added(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the checksum of a file.

    Examples
    --------
    >>> import numpy as np
    >>> added({"x": np.arange(3.0)}, {"made by": "hand"})
    {'made by': 'hand', 'fastreg.checksum': 'crc32:11e4a69f'}
    """
    return {**metadata, KEY: _checksum(tensors, metadata)}


def verify(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Refuses the contents of a file if they have another checksum than it says."""
    if KEY in metadata and (found := _checksum(tensors, metadata)) != metadata[KEY]:
        told = f"its checksum is {found}, expected {metadata[KEY]!r:.30}"
        raise FileFormatError(f"{told}: it is damaged, or another program has changed it and not removed {KEY!r}")


def _checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    crc = 0
    for key in sorted(metadata.keys() - {KEY}):
        for text in (key, metadata[key]):
            crc = zlib.crc32(text.encode("utf-8", "surrogatepass") + b"\0", crc)
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        if array.dtype.kind not in "biuf":
            continue  # a file holds no such array, so writing it is refused
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        crc = zlib.crc32(f"{name}\0{array.dtype.str} {array.shape}\0".encode("utf-8", "surrogatepass"), crc)
        values = array.reshape(-1).view(np.uint8)
        for part in pieces(values.size, BYTES_AT_ONCE):
            crc = zlib.crc32(values[part].data, crc)
    return f"crc32:{crc:08x}"
