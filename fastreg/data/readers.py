"""Reading arrays and tables: .npz, .npy memory maps, .csv, and `read`, which tells them apart."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from array import array
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastreg.data.idx import DTYPES as IDX_DTYPES
from fastreg.data.idx import GZIP_MAGIC, is_idx_folder, load_idx_folder, read_idx
from fastreg.fileio import FileFormatError, PathLike, array_bytes, naming, open_regular

Part = tuple[np.ndarray, "np.ndarray | None"]

DEFLATE_RATIO = 1032  # deflate cannot pack tighter
# Names of inputs and of labels in .npz files and folders, by part; x_train and y_train are Keras's.
NAMES = {
    "all": (("X", "x", "data"), ("y", "labels", "target")),
    "train": (("X_train", "x_train"), ("y_train",)),
    "test": (("X_test", "x_test"), ("y_test",)),
}


def read(path: PathLike) -> list[Part]:
    """Read a data set; what it is, is told by what the file begins with, not by its name.

    Parameters
    ----------
    path : str or path
        A .csv with the label in the last column; a .npz with `X` and `y`, or `X_train`, `y_train`, `X_test`, `y_test`;
        a folder with the IDX files of MNIST, or with .npy files under the names of the .npz; a single .npy or IDX file,
        which is samples without labels.

    Returns
    -------
    list of (X, y)
        One pair, still to be split, or two, training and test. y is None where there are no labels. From .npy files
        X and y are memory maps.

    Raises
    ------
    FileFormatError
        The file is of no known kind, or is damaged.
    OSError
        It cannot be opened.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "set.npz")
    >>> np.savez(path, X=np.zeros((5, 2)), y=np.arange(5))
    >>> [(X, y)] = read(path)
    >>> X.shape, y.shape
    ((5, 2), (5,))
    """
    path = Path(path)
    if path.is_dir():
        return list(load_idx_folder(path)) if is_idx_folder(path) else _parts(_read_folder(path), path)
    with naming(path), open_regular(path) as (file, _):
        start = file.read(6)
    if start.startswith(b"PK"):
        return _parts(read_npz(path), path)
    if start == b"\x93NUMPY":
        return [(read_npy(path), None)]
    if start.startswith(GZIP_MAGIC) or (start[:2] == b"\0\0" and start[2:3] and start[2] in IDX_DTYPES):
        return [(read_idx(path), None)]
    return [read_csv(path)]


def read_npz(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a .npz file into memory. Arrays of Python objects, which would be unpickled, are refused.

    Examples
    --------
    See `read`.
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
            # NumPy takes memory by the array's own header before it reads; in a buffer that can be checked first.
            arrays[name] = _parse_npy(name, archive.read(info))
        return arrays


def read_npy(path: PathLike) -> np.ndarray:
    """Map a .npy file into memory, read-only: it may be larger than memory.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "X.npy")
    >>> np.save(path, np.arange(3))
    >>> read_npy(path)
    memmap([0, 1, 2])
    """
    with naming(path), open_regular(path), _parsing("a .npy file"):
        return np.lib.format.open_memmap(path, mode="r")


def read_csv(path: PathLike, target: int | str = -1) -> tuple[np.ndarray, np.ndarray]:
    """Read a table of numbers; one column is the target.

    Parameters
    ----------
    path : str or path
        Fields between commas, semicolons or tabs; the first line may name the columns.
    target : int or str
        The column of labels or targets, by position or name. Text in it becomes class numbers in sorted order.

    Returns
    -------
    X : ndarray (n, columns - 1), float64
    y : ndarray (n,)
        int64 where all values are whole numbers or text, else float64.

    Raises
    ------
    FileFormatError
        A row has another length than the first, or a field is missing or not a number; the message names its line.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "flowers.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("length,width,kind\\n5.1,3.5,lily\\n4.9,3.0,rose\\n")
    >>> read_csv(path)
    (array([[5.1, 3.5],
           [4.9, 3. ]]), array([0, 1]))
    """
    with naming(path), open_regular(path) as (file, _), _parsing("a .csv file"):
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        first = text.readline()
        text.seek(0)
        rows = csv.reader(text, delimiter=max(",;\t", key=first.count), strict=True)
        names = next(rows, [])
        width = len(names)
        if width < 2:
            raise FileFormatError("is no table of at least two columns: fastreg reads IDX, .npz, .npy and .csv")
        column = _target_column(names, target)
        headless = all(_is_number(field) for i, field in enumerate(names) if i != column)
        values, targets = array("d"), []
        if headless:
            targets.append(_take_row(names, 1, width, column, values))
        for row in rows:
            if row:
                targets.append(_take_row(row, rows.line_num, width, column, values))
        if not targets:
            raise FileFormatError("has no rows")
        return np.array(values).reshape(len(targets), width - 1), _targets(targets)


def _take_row(row: list[str], line: int, width: int, column: int, values: array) -> str:
    """Appends a row's numbers to `values`; gives its target."""
    if len(row) != width:
        raise FileFormatError(f"line {line} has {len(row)} fields, the first line {width}")
    target = row.pop(column)
    for field in row:
        if not _is_number(field):
            raise FileFormatError(f"line {line} has {field[:40]!r} where a finite number belongs")
    values.extend(map(float, row))
    if not target.strip():
        raise FileFormatError(f"line {line} has no target")
    return target


def _target_column(names: list[str], target: int | str) -> int:
    if isinstance(target, str):
        if names.count(target) != 1:
            raise FileFormatError(f"target must name one column, got {target!r}; the first line is {names[:20]}")
        return names.index(target)
    if not -len(names) <= target < len(names):
        raise FileFormatError(f"target must be a column from 0 to {len(names) - 1} or a name, got {target!r}")
    return target % len(names)


def _targets(fields: list[str]) -> np.ndarray:
    if not all(map(_is_number, fields)):
        return np.unique([field.strip() for field in fields], return_inverse=True)[1].astype(np.int64)
    values = np.array(fields, dtype=float)
    whole = (values == np.floor(values)).all() and (abs(values) < 2**53).all()
    return values.astype(np.int64) if whole else values


def _is_number(field: str) -> bool:
    try:
        return math.isfinite(float(field))
    except ValueError:
        return False


def _parse_npy(name: str, data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for structured dtypes with names beyond Latin-1
        raise FileFormatError(f"the array {name!r} is of .npy version {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.hasobject:
        raise FileFormatError(f"the array {name!r} holds Python objects, which fastreg does not unpickle")
    if array_bytes(shape, dtype.itemsize) != len(data) - stream.tell():
        raise FileFormatError(f"the array {name!r} does not have the bytes of its shape {shape}")
    values = np.frombuffer(data, dtype, offset=stream.tell()) if math.prod(shape) else np.empty(0, dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    names = [name for kinds in NAMES.values() for aliases in kinds for name in aliases]
    return {name: read_npy(folder / f"{name}.npy") for name in names if (folder / f"{name}.npy").is_file()}


def _parts(arrays: dict[str, np.ndarray], path: Path) -> list[Part]:
    parts = []
    kinds = ("train", "test") if arrays.keys() & NAMES["train"][0] else ("all",)
    for kind in kinds:
        X, y = (next((arrays[name] for name in names if name in arrays), None) for names in NAMES[kind])
        if X is not None:
            if X.ndim == 0 or (y is not None and (y.ndim == 0 or len(X) != len(y))):
                raise FileFormatError(f"{path}: inputs and labels are not equally many")
            parts.append((X, y))
    if not parts:
        raise FileFormatError(f"{path}: holds neither X and y, nor X_train and y_train, nor the IDX files of MNIST")
    return parts


@contextmanager
def _parsing(what: str):
    """One error for the many that the parsers of Python and NumPy raise on damaged files, documented or not."""
    try:
        yield
    except (FileFormatError, OSError):
        raise
    except UnicodeDecodeError:
        raise FileFormatError("is of no known kind: fastreg reads IDX, .npz, .npy and .csv") from None
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"is not {what} that fastreg can read: {text}") from None
