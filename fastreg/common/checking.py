"""Checks of users' arguments. An error is one line, "name: got X, expected Y"."""

from __future__ import annotations

import math
import mmap
import numbers
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import names
from fastreg.common.names import plain as plain
from fastreg.common.pieces import copied, pieces
from fastreg.common.showing import LONGEST, shown

if TYPE_CHECKING:
    from fastreg.common.sparse import SparseRows

MAX_INT = 2**63 - 1  # largest count in C
MAX_WIDTH = 2**31 - 1  # largest width of a layer
PRECISIONS = ("float32", "bfloat16")  # of products
ENGINES = ("native", "reference")
MAX_DIMENSIONS = 63  # NumPy has 64, and rows take one of them
CHUNK = 1 << 16  # elements that are checked at a time, so that no temporary is as large as the data

# What both engines read in place. Anything else is converted first.
READABLE = frozenset(np.dtype(t) for t in ("u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8"))

Names = Callable[[], Sequence[str]]

# What helps where an array holds something that is not a number, by the kinds of `fastreg.common.objects`.
NO_ADVICE: Mapping[str, str] = MappingProxyType({})
_SCHEMA = "fr.data.infer_schema(X, y), as the first element of the model,"
FOR_INPUTS = MappingProxyType(
    {"text": f"{_SCHEMA} encodes texts", "date": f"{_SCHEMA} encodes dates", "hole": f"{_SCHEMA} fills holes"}
)
FOR_LABELS = MappingProxyType({"text": "np.unique(np.array(y, str), return_inverse=True)[1] numbers them"})


class Inner(str):
    """A call inside a spec, passed to the outer object as an argument. It stands for an object, not for text."""


def number(
    name: str, value, low: float = 0.0, high: float = math.inf, *, below: bool = False, above: bool = False
) -> float:
    """`value` as a finite float from `low` to `high`. `below` excludes `high` itself, `above` excludes `low`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: got {shown(value)}, expected a number")
    try:
        result = float(value)
    except OverflowError:  # from a huge integer
        result = math.inf
    if not (low <= result <= high and math.isfinite(result)) or (below and result == high) or (above and result == low):
        limit = f" above {low:g}" if above else f" of at least {low:g}" if low > -math.inf else ""
        if high < math.inf:
            limit = f"{limit}, up to {high:g}" if above else f" from {low:g} to {'below ' * below}{high:g}"
        raise ValueError(f"{name}: got {shown(value)}, expected a finite number{limit}")
    return result


def positive(name: str, value, high: float = math.inf) -> float:
    """`value` as a finite float above 0, up to `high`."""
    return number(name, value, 0.0, high, above=True)


def integer(name: str, value, low: int = 1, high: int = MAX_INT) -> int:
    """`value` as an int from `low` to `high`, by default at most what C can count."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: got {shown(value)}, expected an integer")
    result = int(value)
    if not low <= result <= high:
        limit = f"of at least {low}" if high in (MAX_INT, MAX_WIDTH) and result < low else f"from {low} to {high}"
        raise ValueError(f"{name}: got {shown(value)}, expected an integer {limit}")
    return result


def flag(name: str, value) -> bool:
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: got {shown(value)}, expected True or False")
    return bool(value)


def choice(name: str, value, options: Iterable[str]) -> str:
    """`value`, one of `options`, or another library's name of one of them."""
    options = tuple(options)
    if isinstance(value, str) and value in options:
        return value
    meant = near = None
    if isinstance(value, str):
        meant = names.own(name, value, options) if names.kind_of(name) in names.ALIASES else None
        near = nearest(value, options, name)
    if meant is None:
        raise ValueError(f"{name}: got {shown(value)}, expected one of {', '.join(options)}{near or ''}")
    return meant


def nearest(name: Any, options: Iterable[Any], argument: str = "") -> str:
    """The end of an error message about a name: which of the `options` is meant, by `fastreg.common.names` if the
    argument has a table there. Empty if none is near, or if the name is no text, such as the number of a class."""
    if not isinstance(name, str):
        return ""
    return names.advice(argument, name, [option for option in options if isinstance(option, str)])


def made(name: str, value) -> None:
    """Refuses a class where an object of it is expected."""
    if isinstance(value, type):
        raise TypeError(f"{name}: got the class {value.__name__}, expected an object: {value.__name__}(...)")


def engine(value) -> str:
    """The name of an engine."""
    return choice("engine", value, ENGINES)


def precision(value) -> str:
    """The name of a precision of products."""
    return choice("precision", value, PRECISIONS)


def iterate(name: str, value, expected: str) -> Iterator:
    """An iterator over `value`, which must not be text."""
    try:
        if not isinstance(value, (str, bytes)):
            return iter(value)
    except TypeError:
        pass
    raise TypeError(f"{name}: got {shown(value)}, expected {expected}")


def text(name: str, value) -> str:
    """`value` as a printable string."""
    if not isinstance(value, str) or isinstance(value, Inner) or not value.isprintable():
        raise TypeError(f"{name}: got {shown(value)}, expected a string")
    return value


def path(name: str, value) -> str:
    """`value` as the path of a file."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(value, Inner) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name}: got {shown(value)}, expected the path of a file")
    result = os.fspath(value)
    try:
        os.fsencode(result)
    except UnicodeEncodeError:
        result = ""
    if not result or "\0" in result:
        raise ValueError(f"{name}: got {shown(value)}, expected the path of a file")
    return result


def sample_shape(value) -> tuple[int, ...]:
    """The shape of a sample."""
    if isinstance(value, numbers.Real):
        value = (value,)
    sizes = tuple(islice(iterate("input_shape", value, "a size or a tuple of sizes"), MAX_DIMENSIONS + 1))
    if sizes and sizes[0] is None:
        raise TypeError(f"input_shape: got {shown(sizes)}, expected the shape of one sample, without its rows")
    if len(sizes) > MAX_DIMENSIONS:
        raise ValueError(f"input_shape: got more than {MAX_DIMENSIONS} sizes, expected at most {MAX_DIMENSIONS}")
    if not sizes:
        raise ValueError("input_shape: got (), expected at least one size")
    return tuple(integer("input_shape", size, high=MAX_WIDTH) for size in sizes)


def seed(value) -> int:
    """A key of Philox: 64 bits."""
    return integer("seed", value, 0, 2**64 - 1)


def dtype(value) -> str:
    """The name of a working dtype."""
    try:
        name = np.dtype(value).name
    except MemoryError:
        raise
    except Exception:  # NumPy raises errors of many types
        name = ""
    if value is None or name not in ("float32", "float64"):
        raise ValueError(f"dtype: got {shown(value)}, expected 'float32' or 'float64'")
    return name


def as_array(name: str, value) -> np.ndarray:
    """`value` as an array of any dtype, as NumPy makes it. Columns of other libraries become plain ones
    (`fastreg.common.columns`). Masked values are refused."""
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "__iter__") and not any(hasattr(value, name) for name in ("__getitem__", "__array__", "tocsr")):
        raise TypeError(f"{name}: got {shown(value)}, expected an array of all rows, which may be a memory map")
    masked = sys.modules.get("numpy.ma")  # if not loaded, nothing is masked; an import takes milliseconds
    if masked is not None and isinstance(value, masked.MaskedArray) and masked.is_masked(value):
        count = masked.count_masked(value)
        raise ValueError(
            f"{name}: got an array with {count} masked values, expected none; {name}.filled(...) fills them"
        )
    try:
        return _plain_column(value) if not isinstance(value, np.ndarray) else np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # ragged lists, and whatever an __array__ raises
        if lengths := _ragged(value):
            raise TypeError(f"{name}: {lengths}, expected rows of one length") from None
        why = " ".join(str(error).split())[:LONGEST]
        raise TypeError(f"{name}: got {shown(value)}, expected an array: {why or type(error).__name__}") from None


def _plain_column(value) -> np.ndarray:
    from fastreg.common import columns  # for what is not an array yet

    return columns.plain(value) if columns.is_column(value) else np.asarray(value)


def _ragged(value) -> str:
    """What is wrong with a list of rows of different lengths; empty if they are of one."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(row, (list, tuple, np.ndarray)) for row in value):
        return ""
    lengths = [1 if isinstance(row, np.ndarray) and not row.ndim else len(row) for row in value]
    row = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    return "" if row is None else f"got {lengths[0]} values in row 0, but {lengths[row]} in row {row}"


def array(name: str, value, working: str = "float32", advice: Mapping[str, str] = NO_ADVICE) -> np.ndarray:
    """`value` as an array of real numbers that both engines can read; copied only if its dtype is not READABLE.

    Frames are copied, see `fastreg.common.convert`. `advice` ends an error about what is not a number, by its kind.
    """
    if value is None:
        raise TypeError(f"{name}: got None, expected an array of real numbers")
    if hasattr(value, "tocsr"):
        raise TypeError(f"{name}: got a sparse matrix, expected an array; {name}.toarray() makes one")
    result = _frame(name, value, advice) if type(value) is not np.ndarray else None
    result = as_array(name, value) if result is None else result
    if result.dtype in READABLE:
        return result
    if result.dtype.kind in "OUST":
        from fastreg.common import convert  # only for them

        if result.dtype.kind in "US" and isinstance(value, (list, tuple)):
            result = np.asarray(value, object)  # else numbers beside a text would be texts, too, and the first be named
        result = convert.real(name, result, advice)
    if result.dtype.kind == "b":
        return result.view(np.uint8)
    native = result.dtype.newbyteorder("=")
    if native in READABLE:
        return result.astype(native, copy=False)
    if result.dtype.kind == "u" and result.max(initial=0) <= MAX_INT:
        return result.astype(np.int64)  # exact: labels stay labels
    if result.dtype.kind in "iuf":  # float16, long double, integers beyond int64
        with np.errstate(over="ignore"):  # what overflows is no longer finite, which is checked after this
            return result.astype(working)
    got = f"fields ({', '.join(result.dtype.names)})" if result.dtype.names else result.dtype
    raise TypeError(f"{name}: got an array of {got}, expected real numbers{_instead(name, result, advice)}")


def _frame(name: str, value, advice: Mapping[str, str]) -> np.ndarray | None:
    """The array of a frame. None for anything else."""
    from fastreg.common import columns

    if not columns.is_frame(value):
        return None
    from fastreg.common import convert

    return convert.frame(name, value, advice)


def _instead(name: str, value: np.ndarray, advice: Mapping[str, str]) -> str:
    """What makes real numbers of an array of another dtype: the end of an error."""
    if value.dtype.names:
        return "; numpy.lib.recfunctions.structured_to_unstructured makes one array of the fields"
    if value.dtype.kind == "c":
        return f"; {name}.real and {name}.imag are"
    if value.dtype.kind == "M":
        return f"; {advice['date']}" if "date" in advice else ""
    return f"; {name} / np.timedelta64(1, 's') gives seconds" if value.dtype.kind == "m" else ""


def is_memory_map(values: np.ndarray) -> bool:
    """Whether the array is in a file. If so, the engine checks its values as it reads them."""
    owner: object = values
    while owner is not None:
        if isinstance(owner, (np.memmap, mmap.mmap)):
            return True
        owner = getattr(owner, "base", None)
    return False


def all_finite(values: np.ndarray) -> bool:
    """Whether no value is NaN or infinite. Checks one chunk of rows at a time."""
    return values.dtype.kind != "f" or not values.ndim or _first_bad(values) < 0


def finite(
    name: str,
    values: np.ndarray,
    working: str,
    names: Names | None = None,
    advice: str = "",
    holes: bool = False,
) -> None:
    """Refuses NaN (but not with `holes`), infinities and numbers beyond the range of the working dtype. The error names
    the first such value, its row and, in a matrix, its column, by its name if there are `names`. `advice` ends an error
    about NaN. Memory maps are left to the engine."""
    if values.dtype.kind == "f" and not is_memory_map(values):
        narrower = np.dtype(working).itemsize < values.itemsize
        largest = float(np.finfo(working).max) if narrower else math.inf
        row = _first_bad(values, largest, holes)
        if row >= 0:
            found = np.ravel(values[row])
            good = np.isfinite(found) & (np.abs(found) <= largest)
            place = int(np.argmin(good | np.isnan(found) if holes else good))
            within = f" in {working}" if np.isfinite(found[place]) else ""
            column = "" if values.ndim != 2 else f" in column {place if names is None else repr(names()[place])}"
            end = f"; {advice}" if advice and np.isnan(found[place]) else ""
            raise ValueError(
                f"{name}: row {row} holds a value that is not finite{within}, {found[place]}{column}, "
                f"expected finite numbers{end}"
            )


def _first_bad(values: np.ndarray, largest: float = math.inf, holes: bool = False) -> int:
    """The first row with a value that is not finite or beyond +- `largest`; -1 if there is none. With `holes` NaN is
    good."""
    rows = len(values)
    step = max(1, CHUNK * rows // max(values.size, 1))
    for start in range(0, rows, step):
        chunk = values[start : start + step]
        good = np.isfinite(chunk) if largest == math.inf else np.abs(chunk) <= largest
        if holes:
            good |= np.isnan(chunk)
        if not good.all():
            return start + int(np.argmin(good.reshape(len(good), -1).all(axis=1)))
    return -1


def inputs(
    name: str,
    value,
    working: str = "float32",
    sample: tuple[int, ...] | None = None,
    names: Names | None = None,
) -> np.ndarray:
    """A data set: (n, ...) real numbers, at least one row of at least one value, all finite. Sparse matrices become
    `SparseRows`.

    sample   the shape that each sample must have, if one is known already
    names    gives the names of the columns for errors. A frame has its own
    """
    if type(value) is not np.ndarray and (rows := _sparse(name, value, working)) is not None:
        return _of_shape(name, value, rows, sample)
    result = array(name, value, working, FOR_INPUTS)
    _of_shape(name, value, result, sample)
    if type(value) is not np.ndarray and names is None:
        names = _names_of(value)
    finite(name, result, working, names, FOR_INPUTS["hole"])
    return result


def _of_shape(name: str, value, result, sample: tuple[int, ...] | None):
    """The data set `result`, made of `value`, if its shape is that of samples."""
    if result.ndim < 2:
        advice = _reshaped(name, value, result.shape, sample)
        expected = "(rows, ...) with two or more dimensions" if sample is None else _rows_of(sample)
        raise ValueError(f"{name}: got shape {result.shape}, expected {expected}{advice}")
    if not result.size:
        raise ValueError(f"{name}: got shape {result.shape}, expected at least one row and one value per row")
    if sample is not None and result.shape[1:] != sample:
        expected = f"{_rows_of(sample)}: the shape the model was built for"
        raise ValueError(
            f"{name}: got shape {result.shape}, expected {expected}{_reshaped(name, value, result.shape, sample)}"
        )
    return result


def _sparse(name: str, value, working: str) -> SparseRows | None:
    """The rows of a sparse matrix, of finite real numbers. None for anything else."""
    from fastreg.common import sparse

    if not sparse.is_sparse(value):
        return None
    rows = sparse.rows_of(name, value)
    rows.values = array(name, rows.values, working)
    used = rows.values[rows.starts[0] : rows.starts[-1]]
    try:
        finite(name, used, working)
    except ValueError:
        element = _first_bad(used, float(np.finfo(working).max))
        within = f" in {working}" if np.isfinite(used[element]) else ""
        row, column = rows.row_of(int(rows.starts[0]) + element), rows.places[rows.starts[0] + element]
        raise ValueError(
            f"{name}: row {row} holds a value that is not finite{within}, {used[element]} in column {column}, "
            f"expected finite numbers"
        ) from None
    return rows


def _names_of(value) -> Names | None:
    from fastreg.common import columns

    return partial(columns.names, value) if columns.is_frame(value) else None


def _rows_of(sample: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('n', *sample)))})"


def _reshaped(name: str, value, shape: tuple[int, ...], sample: tuple[int, ...] | None) -> str:
    """What makes samples of an array of another shape: the end of an error. Empty if nothing plain does."""
    is_array = isinstance(value, np.ndarray)
    if shape == sample:
        return f"; {name}[None] is one sample" if is_array else f"; [{name}] is one sample"
    if len(shape) == 1 and sample in (None, (1,)):
        return f"; {name}.reshape(-1, 1) is one column" if is_array else f"; np.reshape({name}, (-1, 1)) is one column"
    if sample is None or not is_array or len(shape) < 2:
        return ""
    if math.prod(shape[1:]) == math.prod(sample):
        return f"; {name}.reshape({', '.join(map(str, (-1, *sample)))}) has it"
    return f"; {name}.T has it" if shape[:1] == sample and len(shape) == 2 else ""


def rows(name: str, value, count: int) -> np.ndarray | None:
    """Indices of rows, int64 and contiguous: at least one, each from 0 to `count` - 1. They may repeat."""
    if value is None:
        return None
    result = as_array(name, value)
    if result.dtype == object:
        result = array(name, result)
    if result.ndim != 1 or not result.size:
        raise ValueError(f"{name}: got shape {result.shape}, expected (rows,) with at least one index")
    if result.dtype.kind not in "iu":
        advice = "; np.flatnonzero(mask) makes them from a mask" if result.dtype.kind == "b" else ""
        raise TypeError(f"{name}: got an array of {result.dtype}, expected integers{advice}")
    low, high = result.min(), result.max()
    if low < 0 or high >= count:
        raise ValueError(f"{name}: got indices from {low} to {high}, expected 0 to {count - 1}, the rows of X")
    return np.array(result, np.int64, order="C")  # a copy: epochs must not see changes that the caller makes


def sample_weight(name: str, value, rows: int, working: str) -> np.ndarray | None:
    """Weights (rows,) in the working dtype: finite, none negative, not all zero."""
    if value is None:
        return None
    result = weights(name, value, rows, working)
    if not result.any():
        raise ValueError(f"{name}: got zeros only, expected at least one weight above 0")
    return result


def weights(name: str, value, rows: int, working: str) -> np.ndarray:
    """Weights (rows,) in the working dtype: finite, none negative. What counts as zero in a run is zero."""
    result = array(name, value, working)
    if result.shape == (rows, 1):  # a frame of one column
        result = result[:, 0]
    if result.shape != (rows,):
        raise ValueError(f"{name}: got shape {result.shape}, expected ({rows},)")
    with np.errstate(over="ignore"):  # what overflows is refused in the next line
        result = copied(result, working)  # workers must not see changes that the caller makes
    row = _first_bad(result)
    if row >= 0:
        raise ValueError(f"{name}: row {row} is not finite in {working}, expected finite numbers of at least 0")
    for part in pieces(rows):
        some = result[part]
        if some.min() < 0:
            row = int(np.argmax(some < 0))
            raise ValueError(f"{name}: got {some[row]} in row {part.start + row}, expected numbers of at least 0")
        some[some < np.finfo(working).tiny] = 0
    return result
