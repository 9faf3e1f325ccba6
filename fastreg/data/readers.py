"""Readers of .npz and .npy files (as memory maps), and `read`, which finds out what a file is."""

from __future__ import annotations

import io
import math
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import FileFormatError, PathLike, array_bytes, naming, not_of_the_file, open_regular
from fastreg.common.understood import understood
from fastreg.data.idx import DTYPES as IDX_DTYPES
from fastreg.data.idx import GZIP_MAGIC, holds_idx, is_idx_folder, load_idx_folder, read_idx
from fastreg.data.tables.read import read_csv
from fastreg.data.tables.textfiles import is_packed_table
from fastreg.intake.table import Table

Part = tuple["np.ndarray | Table", "np.ndarray | None"]

DEFLATE_RATIO = 1032  # deflate cannot compress more
# Names of inputs and of labels in .npz files and folders, for each part. x_train and y_train are Keras's names.
NAMES = {
    "all": (("X", "x", "data"), ("y", "labels", "target")),
    "train": (("X_train", "x_train"), ("y_train",)),
    "test": (("X_test", "x_test"), ("y_test",)),
}


def read(path: PathLike, **options) -> list[Part]:
    """Read a data set. The first bytes of a file decide its format, not its name.

    Parameters
    ----------
    path : str or path
        A table in a text file (.csv, .csv.gz and so on). Or a .npz with `X` and `y`, or with `X_train`, `y_train`,
        `X_test` and `y_test`. Or a folder with the IDX files of MNIST, or with .npy files named like the arrays of the
        .npz. A single .npy or IDX file is read as samples without labels.
    **options
        Of a table alone: those of `read_csv`, such as `target`, `delimiter` and `usecols`.

    Returns
    -------
    list of (X, y)
        Either one pair, which is not split yet, or two: training and test. y is None if there are no labels. X and y
        are memory maps if they come from .npy files. X is a Table if it comes from a table with text or holes.

    Raises
    ------
    FileFormatError
        The file has no known format, or is damaged.
    OSError
        The file cannot be opened.
    ValueError
        Options are given for something that is not a table.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "set.npz")
    >>> np.savez(path, X=np.zeros((5, 2)), y=np.arange(5))
    >>> [(X, y)] = read(path)
    >>> X.shape, y.shape
    ((5, 2), (5,))
    """
    path = Path(checking.path("path", path))
    if is_table(path):
        return [read_csv(path, **options)]
    if options:
        raise ValueError(f"{next(iter(options))}: got it for {str(path)!r}, which is not a table in a text file")
    if path.is_dir():
        return list(load_idx_folder(path)) if is_idx_folder(path) else _parts(_read_folder(path), path)
    with naming(path), open_regular(path) as (file, _):
        start = file.read(6)
    if start.startswith(b"PK") and _is_workbook(path):
        raise FileFormatError(f"{path}: is a workbook of Excel: save the table as .csv")
    if start.startswith(b"PK"):
        return _parts(read_npz(path), path)
    return [(read_npy(path) if start == b"\x93NUMPY" else read_idx(path), None)]


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith("xl/") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # which `read_npz` tells


@understood
def is_table(path: PathLike) -> bool:
    """Whether `read` takes what is at `path` for a table in a text file, which `read_table` and `read_csv` read.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "flats.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("rooms,price\\n3,310\\n")
    >>> is_table(path)
    True
    """
    path = Path(checking.path("path", path))
    if path.is_dir():
        return False
    with naming(path):
        with open_regular(path) as (file, _):
            start = file.read(6)
        if start.startswith(b"PK"):
            return is_packed_table(path)
        if start == b"\x93NUMPY":
            return False
        if start[:2] == b"\0\0" and start[2:3] and start[2] in IDX_DTYPES:
            return False
        return not start.startswith(GZIP_MAGIC) or not holds_idx(path)


@understood
def read_npz(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a .npz file into memory. Python objects are refused: reading them would unpickle them.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict of ndarray
        The arrays, by their names in the file.

    Raises
    ------
    FileFormatError
        The file is damaged, or holds Python objects.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "set.npz")
    >>> np.savez(path, X=np.arange(3))
    >>> read_npz(path)
    {'X': array([0, 1, 2])}
    """
    with naming(path), open_regular(path) as (file, size), _parsing("a .npz file"), zipfile.ZipFile(file) as archive:
        arrays = {}
        if sum(info.file_size for info in archive.infolist()) > DEFLATE_RATIO * size:
            raise FileFormatError("claims more bytes than it can hold")
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise FileFormatError(f"holds the array {name!r} twice")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FileFormatError(f"packs the array {name!r} in a way that NumPy does not write")
            # NumPy allocates what an array's header claims before it reads. In a buffer, the claim can be checked.
            arrays[name] = _parse_npy(name, archive.read(info))
        return arrays


@understood
def read_npy(path: PathLike) -> np.ndarray:
    """Map a .npy file, read-only. It may be larger than memory.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    memmap

    Raises
    ------
    FileFormatError
        The file is damaged, or holds Python objects.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "X.npy")
    >>> np.save(path, np.arange(3))
    >>> read_npy(path)
    memmap([0, 1, 2])
    """
    with naming(path), open_regular(path) as (file, size), _parsing("a .npy file"):
        # Not NumPy's open_memmap: its sizes can overflow, and it accepts a file that goes on after its array.
        shape, order, dtype = _npy_header("the array", file, size)
        start = file.tell() if math.prod(shape) else 0  # a map cannot begin at the end of a file, for an empty array
    return np.memmap(path, dtype, "r", offset=start, shape=shape, order=order)


def _parse_npy(name: str, data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    shape, order, dtype = _npy_header(f"the array {name!r}", stream, len(data))
    values = np.frombuffer(data, dtype, offset=stream.tell()) if math.prod(shape) else np.empty(0, dtype)
    return values.reshape(shape, order=order)


def _npy_header(what: str, stream: BinaryIO, size: int) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype]:
    """Shape, order and dtype of the array `what`. The rest of the `size` bytes of the stream must be its values."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for structured dtypes with names beyond Latin-1
        raise FileFormatError(f"{what} is of .npy version {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.hasobject:
        raise FileFormatError(f"{what} holds Python objects, which fastreg does not unpickle")
    if min(shape, default=0) < 0 or array_bytes(shape, dtype.itemsize) != size - stream.tell():
        raise FileFormatError(f"{what} does not have the bytes of its shape {checking.shown(shape)}")
    return shape, "F" if fortran else "C", dtype


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    names = [name for kinds in NAMES.values() for aliases in kinds for name in aliases]
    return {name: read_npy(folder / f"{name}.npy") for name in names if (folder / f"{name}.npy").is_file()}


def _parts(arrays: dict[str, np.ndarray], path: Path) -> list[Part]:
    parts: list[Part] = []
    kinds = ("train", "test") if arrays.keys() & NAMES["train"][0] else ("all",)
    for kind in kinds:
        X, y = (next((arrays[name] for name in names if name in arrays), None) for names in NAMES[kind])
        if X is not None:
            if X.ndim == 0 or (y is not None and (y.ndim == 0 or len(X) != len(y))):
                raise FileFormatError(f"{path}: the numbers of inputs and labels differ")
            parts.append((X, y))
    if not parts:
        raise FileFormatError(f"{path}: holds neither X and y, nor X_train and y_train, nor the IDX files of MNIST")
    return parts


@contextmanager
def _parsing(what: str):
    """Raises one kind of error for the many that Python's and NumPy's parsers raise on damaged files."""
    outer = sys.exc_info()[1]
    try:
        yield
    except (FileFormatError, OSError):
        raise
    except UnicodeDecodeError:
        raise FileFormatError("has no known format: fastreg reads IDX, .npz, .npy and .csv") from None
    except Exception as error:
        if cause := not_of_the_file(error, outer):
            raise cause from None
        text = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"is not {what} that fastreg can read: {text}") from None
