"""Readers of .npz, .npy (as memory maps) and .csv files, and `read`, which finds out what a file is."""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from array import array
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import FileFormatError, PathLike, array_bytes, naming, open_regular
from fastreg.data.idx import DTYPES as IDX_DTYPES
from fastreg.data.idx import GZIP_MAGIC, is_idx_folder, load_idx_folder, read_idx

Part = tuple[np.ndarray, "np.ndarray | None"]

DEFLATE_RATIO = 1032  # deflate cannot compress more
# Names of inputs and of labels in .npz files and folders, for each part. x_train and y_train are Keras's names.
NAMES = {
    "all": (("X", "x", "data"), ("y", "labels", "target")),
    "train": (("X_train", "x_train"), ("y_train",)),
    "test": (("X_test", "x_test"), ("y_test",)),
}


def read(path: PathLike) -> list[Part]:
    """Read a data set. The first bytes of a file decide its format, not its name.

    Parameters
    ----------
    path : str or path
        A .csv with the label in the last column. Or a .npz with `X` and `y`, or with `X_train`, `y_train`, `X_test`
        and `y_test`. Or a folder with the IDX files of MNIST, or with .npy files named like the arrays of the .npz. A
        single .npy or IDX file is read as samples without labels.

    Returns
    -------
    list of (X, y)
        Either one pair, which is not split yet, or two: training and test. y is None if there are no labels. X and y
        are memory maps if they come from .npy files.

    Raises
    ------
    FileFormatError
        The file has no known format, or is damaged.
    OSError
        The file cannot be opened.

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
        if not math.prod(shape):  # an empty array: a map cannot begin at the end of a file
            file.seek(0)
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape, order=order)


def read_csv(path: PathLike, target: int | str = -1) -> tuple[np.ndarray, np.ndarray]:
    """Read a table of numbers. One column is the target.

    Parameters
    ----------
    path : str or path
        UTF-8, with fields separated by commas, semicolons or tabs. The first line names the columns if none of its
        fields is a number (nan and inf count as numbers). Blank lines are skipped.
    target : int or str
        The column of labels or targets, by position or name. Either all rows have a number there, or all have text.
        Text becomes class numbers, in sorted order.

    Returns
    -------
    X : ndarray (n, columns - 1), float64
    y : ndarray (n,)
        int64 if all values are whole numbers or text, else float64.

    Raises
    ------
    FileFormatError
        A row is not as long as the first, or a field is empty or not a finite number (1_0 is not one). The message
        gives line and column.

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
    if not isinstance(target, str):
        target = checking.integer("target", target, -checking.MAX_INT)
    with naming(path), open_regular(path) as (file, _), _parsing("a .csv file"):
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        first = re.sub(r'"[^"]*"', "", next((line for line in text if line.strip()), ""))
        text.seek(0)
        reader = csv.reader(text, delimiter=max(",;\t", key=first.count), strict=True)
        rows = ((reader.line_num, row) for row in reader if len(row) > 1 or "".join(row).strip())
        start, names = next(rows, (1, []))
        width = len(names)
        if width < 2:
            raise FileFormatError("is not a table of at least two columns: fastreg reads IDX, .npz, .npy and .csv")
        is_header = not any(map(_reads_as_number, names))
        if is_header and not all(map(str.strip, names)):
            blank = next(i for i, name in enumerate(names) if not name.strip())
            raise _misplaced(start, blank, names[blank], "the name of a column or a number")
        column = _target_column(names, target, is_header)
        values, targets, lines = array("d"), [], []
        for line, row in rows if is_header else chain([(start, names)], rows):
            if len(row) != width:
                raise FileFormatError(f"line {line} has {len(row)} fields, the first line {width}")
            numbers = [_number(field) for field in row]
            targets.append(row[column].strip())
            lines.append(line)
            if not (math.isfinite(numbers.pop(column)) or _is_text(row[column])):
                raise _misplaced(line, column, row[column], "a finite number or the name of a class")
            if not all(map(math.isfinite, numbers)):
                wrong = next(i for i, field in enumerate(row) if i != column and not math.isfinite(_number(field)))
                raise _misplaced(line, wrong, row[wrong], "a finite number")
            values.extend(numbers)
        if not targets:
            raise FileFormatError("has no rows")
        return np.array(values).reshape(len(targets), width - 1), _targets(targets, lines, column)


def _target_column(names: list[str], target: int | str, is_header: bool) -> int:
    if isinstance(target, str):
        if not is_header:
            raise FileFormatError(f"target: got the name {target!r}, but the first line holds numbers, not names")
        if names.count(target) != 1:
            raise FileFormatError(f"target: got {target!r}, expected the name of one column of {checking.shown(names)}")
        return names.index(target)
    if not -len(names) <= target < len(names):
        raise FileFormatError(f"target: got {target}, expected a column from 0 to {len(names) - 1} or a name")
    return target % len(names)


def _targets(fields: list[str], lines: list[int], column: int) -> np.ndarray:
    """Numbers, or class numbers in the order of the names. In a mixture, a typing error would pass as a class."""
    is_text = [_is_text(field) for field in fields]
    if any(is_text):
        if not all(is_text):
            odd = is_text.index(not is_text[0])
            expected = "the name of a class" if is_text[0] else "a finite number"
            raise _misplaced(lines[odd], column, fields[odd], f"{expected}, as in line {lines[0]}")
        return np.unique(fields, return_inverse=True)[1].astype(np.int64)
    values = np.array([_number(field) for field in fields])
    whole = (values == np.floor(values)).all() and (abs(values) < 2**53).all()
    return values.astype(np.int64) if whole else values


def _misplaced(line: int, column: int, field: str, expected: str) -> FileFormatError:
    return FileFormatError(f"line {line}, column {column + 1}: got {field[:40]!r}, expected {expected}")


def _number(field: str) -> float:
    """The number in a field, or NaN. Python also reads 1_0 and digits of other scripts, which do not count here."""
    return float(field) if _reads_as_number(field) and "_" not in field and field.isascii() else math.nan


def _reads_as_number(field: str) -> bool:
    """Whether Python reads it as a number. nan, inf, 1e999 and 1_0 are such, so they are in no header."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_text(field: str) -> bool:
    return bool(field.strip()) and not _reads_as_number(field)


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
    parts = []
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
    try:
        yield
    except (FileFormatError, OSError):
        raise
    except UnicodeDecodeError:
        raise FileFormatError("has no known format: fastreg reads IDX, .npz, .npy and .csv") from None
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"is not {what} that fastreg can read: {text}") from None
