"""IDX files, the format of MNIST and similar sets, plain or compressed with gzip.

A file holds two zero bytes, a code for the dtype, the number of dimensions, each dimension in 4 bytes, then the values.
All of it is big-endian.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import (
    FileFormatError,
    PathLike,
    array_bytes,
    naming,
    not_of_the_file,
    open_regular,
    read_bytes,
    read_into,
)
from fastreg.common.understood import understood

DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
GZIP_MAGIC = b"\x1f\x8b"
GZIP_RATIO = 1032  # deflate cannot compress more, so the size of a file bounds what it can hold

PARTS = {"train": ("train",), "test": ("t10k", "test")}
KINDS = {"images": ("images-idx3-ubyte", "images.idx3-ubyte"), "labels": ("labels-idx1-ubyte", "labels.idx1-ubyte")}


@understood
def read_idx(path: PathLike) -> np.ndarray:
    """Read an IDX file, plain or gzip. Its first bytes decide which, not its name.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    ndarray
        Shape and dtype as the file says, in native byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    FileFormatError
        The file is not an IDX file, or is shorter or longer than its shape.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "labels")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> read_idx(path)
    array([7, 8, 9], dtype=uint8)
    """
    with naming(path), open_regular(path) as (file, size):
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            return _read(file, size)
        with _unpacking(), gzip.GzipFile(fileobj=file) as unpacked:
            return _read(unpacked, size * GZIP_RATIO)  # type: ignore[arg-type]


@understood
def load_idx_folder(folder: PathLike) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Read a folder with the four files of MNIST, or of a data set that names its files in the same way.

    Parameters
    ----------
    folder : str or path
        Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, each with or without `.gz`; `.idx3-ubyte` and `test-` work too.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        Images (n, height, width) and labels (n,), as in the files.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message says which.
    FileFormatError
        A file is damaged, or there are not as many labels as images.

    Examples
    --------
    >>> (X, y), (X_test, y_test) = load_idx_folder("mnist")  # doctest: +SKIP
    """
    train, test = (_load_part(Path(checking.path("folder", folder)), names) for names in PARTS.values())
    if train[0].shape[1:] != test[0].shape[1:]:
        raise FileFormatError(f"{folder}: training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}")
    return train, test


def is_idx_folder(folder: PathLike) -> bool:
    """Whether the folder holds training images under one of the names of `load_idx_folder`."""
    return _find(Path(folder), PARTS["train"], KINDS["images"]) is not None


def holds_idx(path: PathLike) -> bool:
    """Whether a file packed by gzip begins like an IDX file."""
    with open_regular(path) as (file, _), _unpacking(), gzip.GzipFile(fileobj=file) as unpacked:
        start = unpacked.read(3)
    return start[:2] == b"\0\0" and start[2:3] != b"" and start[2] in DTYPES


def _load_part(folder: Path, parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (read_idx(_need(folder, parts, kinds)) for kinds in KINDS.values())
    if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
        shapes = f"{images.shape} images, {labels.shape} labels"
        raise FileFormatError(f"{folder}: the {parts[0]} files do not belong together: {shapes}")
    return images, labels


def _find(folder: Path, parts: tuple[str, ...], kinds: tuple[str, ...]) -> Path | None:
    names = [f"{part}-{kind}{packed}" for part in parts for kind in kinds for packed in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _need(folder: Path, parts: tuple[str, ...], kinds: tuple[str, ...]) -> Path:
    path = _find(folder, parts, kinds)
    if path is None:
        raise FileNotFoundError(f"{folder}: no {parts[0]}-{kinds[0]} or {parts[0]}-{kinds[0]}.gz in this folder")
    return path


def _read(file: BinaryIO, limit: int) -> np.ndarray:
    zeros, code, dimensions = read_bytes(file, 2), *read_bytes(file, 2)
    if zeros != b"\0\0" or code not in DTYPES:
        raise FileFormatError("is not an IDX file")
    if dimensions == 0:
        raise FileFormatError("has no dimensions")
    sizes = read_bytes(file, 4 * dimensions)
    shape = [int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4)]
    if array_bytes(shape, DTYPES[code].itemsize) > limit:
        raise FileFormatError(f"claims the shape {tuple(shape)}, more than the file can hold")
    array = np.empty(shape, DTYPES[code])
    read_into(file, array)
    if file.read(1):
        raise FileFormatError(f"goes on after the values of its shape {tuple(shape)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def _unpacking():
    outer = sys.exc_info()[1]
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise not_of_the_file(error, outer) or FileFormatError(f"is not a whole gzip file: {error}") from None
