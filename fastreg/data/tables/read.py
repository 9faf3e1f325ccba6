"""Tables of text files (.csv and its kin): `read_table` and `read_csv`."""

from __future__ import annotations

import csv
import inspect
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import FileFormatError, PathLike, naming
from fastreg.data.tables import dialect as dialects
from fastreg.data.tables.columns import EXACT, Column, Reader, advice_on
from fastreg.data.tables.dialect import BLANKS, LABELS, Dialect, listed
from fastreg.data.tables.fields import MISSING, Missing, is_number
from fastreg.data.tables.textfiles import Lines, checked_encoding, open_lines
from fastreg.intake.table import Table, holes

BLOCK = 1 << 20  # characters that are read at a time
LEAST_ROWS = 64  # of a block, even if its rows are long
SHORTEST = 2  # columns of inputs and target


ELSEWHERE = {  # what pandas calls an option, and what serves here
    **dict.fromkeys(("sep", "delim_whitespace"), "delimiter="),
    **dict.fromkeys(("na_values", "keep_default_na", "na_filter"), "missing="),
    **dict.fromkeys(("names", "skiprows"), "header="),
    **dict.fromkeys(("dtype", "converters"), "text= for columns of text"),
    "index_col": "usecols= for the columns to keep",
    "nrows": "read_table(path)[:n]",
    "thousands": "nothing: marks between thousands are read where they are certain",
    "parse_dates": "nothing: dates stay text, which infer_schema encodes",
    "comment": "nothing: lines with # before the table are skipped",
    "compression": "nothing: the first bytes of the file decide",
    "engine": "nothing",
}


class Options(NamedTuple):
    """The checked arguments of a reader."""

    header: Any
    delimiter: str
    decimal: str
    missing: Missing
    usecols: list[int | str] | None
    text: list[int | str]
    encoding: str


class Read(NamedTuple):
    """A table, the lines of its rows and the numbers of its columns in the file."""

    table: Table
    lines: np.ndarray
    numbers: dict[str, int]
    notes: list[str]
    delimiter: str
    decimal: str
    forced: set[str]  # the names of columns that are text because the caller says so


def read_table(
    path: PathLike,
    *,
    header: Any = "auto",
    delimiter: str = "auto",
    decimal: str = ".",
    missing: Sequence[str | float] = MISSING,
    usecols: Sequence[int | str] | None = None,
    text: Sequence[int | str] = (),
    encoding: str = "utf-8",
    **kwargs: Any,
) -> Table:
    """Read a table from a text file: .csv, .tsv and their kin, plain or packed (.gz, .bz2, .xz, or alone in a .zip).

    Columns in which all fields are numbers become numbers: int64 if all are written as whole numbers and none is
    missing, else float64 with NaN for what is missing. All others become text, with None for what is missing. Dates,
    true and false stay text.

    What is certain is found in silence. Where something is not certain, a warning says what was taken and which option
    says otherwise. Text among numbers is refused where it can only be a typing error: where it is one field alone, or
    up to five fields and one in twenty. Otherwise the column is text.

    Parameters
    ----------
    path : str or path
        Comment lines (#) before the table and blank lines are skipped. Fields may be quoted.
    header : "auto", bool, int or list of str
        Whether the first line has the names of the columns, or the number of the line that has them, from 0; or the
        names themselves, of a file without a header. Without names, columns are called "0", "1", ...
    delimiter : str
        One character, or `" "` for runs of blanks and tabs. "auto" finds commas, semicolons, tabs, bars and blanks.
    decimal : "." or ","
        The decimal mark. A comma is found by itself where all numbers with a comma can only be meant so.
    missing : sequence of str or float
        The fields that stand for a missing value, instead of `fastreg.data.MISSING`: NA, NaN, null, ? and so on. A
        number stands for its value, however it is written. An empty field is always missing.
    usecols : sequence of str or int, optional
        The columns to read, by name or position. They keep their order in the file. Without it, a first column without
        a name is left out if its fields are all different: then it only names the rows.
    text : sequence of str or int
        Columns that are text even if they look like numbers, such as codes with leading zeros.
    encoding : str
        A byte order mark in the file comes first.

    Returns
    -------
    Table

    Raises
    ------
    FileFormatError
        The file is no table, or something in it cannot be read. The message gives file, line, column and cause.
    OSError
        The file cannot be opened.

    Warns
    -----
    UserWarning
        Something was not certain.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "flats.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("town;rooms;price\\nrome;3;310,5\\noslo;NA;250\\n")
    >>> read_table(path)
    Table of 2 rows and 3 columns
    town   rooms   price
    text  number  number
    --------------------
    rome       3   310.5
    oslo             250
    """
    _refuse(kwargs, Options._fields)
    options = _checked(header, delimiter, decimal, missing, usecols, text, encoding)
    with naming(path):
        read = _read(path, options)
    _tell(path, read.notes)
    return read.table


def read_table_of(path: PathLike, texts: Sequence[str], **how: Any) -> Table:
    """`read_table` for a model that knows some columns as texts. They are texts where the file has them."""
    given = {name: p.default for name, p in inspect.signature(read_table).parameters.items()}
    options = _checked(**{name: how.get(name, given[name]) for name in Options._fields})
    with naming(path):
        read = _read(path, options, texts=texts)
    _tell(path, read.notes)
    return read.table


def read_csv(
    path: PathLike,
    target: int | str | Sequence[int | str] | None = None,
    *,
    header: Any = "auto",
    delimiter: str = "auto",
    decimal: str = ".",
    missing: Sequence[str | float] = MISSING,
    usecols: Sequence[int | str] | None = None,
    text: Sequence[int | str] = (),
    encoding: str = "utf-8",
    **kwargs: Any,
) -> tuple[np.ndarray | Table, np.ndarray]:
    """Read inputs and targets from a text file, as `read_table` reads a table.

    Parameters
    ----------
    path : str or path
    target : int or str, or a sequence of them, optional
        The column of labels or targets, by position (-1 is the last) or name. Several columns make y a matrix. None
        takes the last column, unless exactly one other has a name such as label, target, class or y.
    header, delimiter, decimal, missing, text, encoding
        As in `read_table`.
    usecols : sequence of str or int, optional
        The columns to read. A target that is given need not be among them.

    Returns
    -------
    X : ndarray (n, columns), float64, or Table
        A Table if a column is text or a field is missing.
    y : ndarray (n,) or (n, targets)
        int64 if all values are whole numbers, float64 if some are not, or str: the names of classes.

    Raises
    ------
    FileFormatError
        As in `read_table`; or a target is missing or infinite, or numbers and text are mixed in it.
    OSError
        The file cannot be opened.

    Warns
    -----
    UserWarning
        Something was not certain, such as which column is the target.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "flowers.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("length,width,kind\\n5.1,3.5,lily\\n4.9,3.0,rose\\n")
    >>> read_csv(path)
    (array([[5.1, 3.5],
           [4.9, 3. ]]), array(['lily', 'rose'], dtype='<U4'))
    """
    _refuse(kwargs, ("target", *Options._fields))
    options = _checked(header, delimiter, decimal, missing, usecols, text, encoding)
    targets = _checked_target(target)
    with naming(path):
        read = _read(path, options, targets)
        if len(read.table.names) < SHORTEST:
            if options.delimiter == "auto" and options.usecols is None:
                raise FileFormatError(dialects.NO_TABLE)
            raise FileFormatError(f"has one column alone, with the delimiter {read.delimiter!r}; expected two or more")
        names = _target_names(read, targets)
        inputs = read.table.drop(names)
        if not inputs.names:
            raise FileFormatError(f"target: got {checking.shown(target)}, which leaves no column for the inputs")
        y = _targets(path, options, read, names, isinstance(target, (list, tuple)))
    _tell(path, read.notes)
    return (np.asarray(inputs) if inputs.is_numeric and not inputs.has_holes else inputs), y


def likely_target(table: Table) -> tuple[str, bool]:
    """The column that is taken for the target, if nobody says which, and whether that is certain: the last one, unless
    another one is the only one with a name such as label."""
    last = table.names[-1]
    labels = [name for name in table.names if name.casefold() in LABELS] if table.named else []
    if not labels or last in labels:
        return last, True
    return (labels[0] if len(labels) == 1 else last), False


def _tell(path: PathLike, notes: list[str]) -> None:
    """Warns at the line that called the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fastreg.data."):
        level, frame = level + 1, frame.f_back
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=level)


# the arguments


def _checked(header, delimiter, decimal, missing, usecols, text, encoding) -> Options:
    if decimal not in (".", ","):
        raise ValueError(f"decimal: got {checking.shown(decimal)}, expected '.' or ','")
    return Options(
        dialects.checked_header(header),
        dialects.checked_delimiter(delimiter),
        decimal,
        Missing(missing),
        None if usecols is None else _columns("usecols", usecols),
        _columns("text", text),
        checked_encoding(encoding),
    )


def _refuse(kwargs: dict[str, Any], known: Sequence[str]) -> None:
    """Refuses arguments that are not known, and says what serves."""
    for name in kwargs:
        serves = f"; here it is {ELSEWHERE[name]}" if name in ELSEWHERE else checking.nearest(name, known)
        raise TypeError(f"{name}: got an unknown argument, expected some of {', '.join(known)}{serves}")


def _columns(name: str, value: Any) -> list[int | str]:
    """A list of names and positions."""
    if isinstance(value, str):
        value = [value]
    result = []
    for i, column in enumerate(checking.iterate(name, value, "a list of names or positions of columns")):
        if not isinstance(column, str):
            column = checking.integer(f"{name}[{i}]", column, -checking.MAX_INT)
        result.append(column)
    return result


def _checked_target(target: Any) -> list[int | str] | None:
    if target is None:
        return None
    if isinstance(target, (list, tuple)):
        if not target:
            raise ValueError(f"target: got {target!r}, expected at least one column")
        return _columns("target", target)
    return [target if isinstance(target, str) else checking.integer("target", target, -checking.MAX_INT)]


def _position(argument: str, column: int | str, names: Sequence[str], named: bool) -> int:
    """The position of a column that the caller names."""
    if isinstance(column, str):
        if column in names:
            return list(names).index(column)
        if not named:
            raise FileFormatError(f"{argument}: got the name {column!r}, but the first line holds numbers, not names")
        near = checking.nearest(column, names)
        raise FileFormatError(
            f"{argument}: got {column!r}, expected the name of one column of {checking.shown(list(names))}{near}"
        )
    if not -len(names) <= column < len(names):
        raise FileFormatError(f"{argument}: got {column}, expected a column from 0 to {len(names) - 1} or a name")
    return column % len(names)


# the file


def _read(path: PathLike, options: Options, targets: list[int | str] | None = None, texts: Sequence[str] = ()) -> Read:
    with open_lines(path, options.encoding) as source:
        dialect = dialects.find(source, options.header, options.delimiter, options.decimal, options.missing)
    notes = dialect.notes
    names = _named(dialect, options.missing)
    forced = {_position("text", column, names, dialect.named) for column in options.text}
    forced |= {i for i, name in enumerate(names) if dialect.named and name in texts}
    used = list(range(len(names)))
    if options.usecols is not None:
        wanted = {_position("usecols", column, names, dialect.named) for column in options.usecols}
        wanted |= {names.index(target) for target in targets or () if isinstance(target, str) and target in names}
        used = [i for i in used if i in wanted]
        if not used:
            raise FileFormatError("usecols: got no column, expected at least one")
    lost: set[int] = set()
    while True:
        columns = [Column(i, names[i] if dialect.named else "", i in forced) for i in used]
        for column in columns:
            column.is_text = column.forced or column.number in lost
        with open_lines(path, options.encoding) as source:
            reader = Reader(columns, len(names), options.missing, dialect.decimal)
            _take(source, reader, dialect, len(names))
        if not reader.count:
            raise FileFormatError("has no rows")
        again = {column.number for column in columns if _becomes_text(column, reader) and column.lost} - lost
        if not again:
            break
        lost |= again  # their numbers are wanted as text, which is gone: once more
    found: dict[str, np.ndarray] = {}
    for column in columns:
        was_text = column.is_text
        values = reader.values(column)
        if column.inexact is not None:
            notes.append(
                f"line {column.inexact.line}, {column.where}: {column.inexact.field} is too large to be exact, and is "
                f"rounded; text=[{_key(column)!r}] keeps the column as it is"
            )
        if was_text and column.is_text and not column.forced and column.numbers and column.numbers >= column.texts:
            notes.append(_mixed(column, dialect.decimal))
        elif column.is_text and not column.forced and column.has_units:
            odd = column.odd[0]
            notes.append(f"{column.where} is text, since its numbers have units (line {odd.line}: {odd.field!r})")
        found[names[column.number]] = values
    lines = np.concatenate(reader.lines)
    _leave_out(found, names, dialect, options)
    empty = _empty_rows(found)
    if empty.any():
        more = f" and of {empty.sum() - 1} more" if empty.sum() > 1 else ""
        notes.append(f"all fields of line {lines[empty.argmax()]}{more} are empty; such rows are left out")
        whole = {names[column.number] for column in columns if column.whole and not column.is_text}
        lines = lines[~empty]
        for name, values in found.items():
            kept = values[~empty]
            is_whole = name in whole and kept.dtype.kind == "f" and bool((abs(kept) < EXACT).all())
            found[name] = kept.astype(np.int64) if is_whole else kept
    if not found:
        raise FileFormatError("has no columns")
    numbers = {name: i for i, name in enumerate(names) if name in found}
    by_caller = {names[i] for i in forced}
    return Read(
        Table._of_columns(found, dialect.named), lines, numbers, notes, dialect.delimiter, dialect.decimal, by_caller
    )


def _mixed(column: Column, decimal: str) -> str:
    first, odd = column.first_number, column.odd[0]
    return (
        f"{column.where} has numbers (line {first.line}: {first.field}) and text (line {odd.line}: "  # type: ignore[union-attr]
        f"{odd.field[:40]!r}), so it is text{advice_on(odd.field, decimal)}; missing=(...) names fields that are "
        "missing numbers"
    )


def _key(column: Column) -> str | int:
    return column.name or column.number


def _named(dialect: Dialect, missing: Missing) -> list[str]:
    """The names of all columns, each different, as pandas makes them: Unnamed: 2, and name.1 for a second one."""
    names: list[str] = []
    taken = set(dialect.names)
    seen: set[str] = set()
    last = len(dialect.names) - 1
    for i, name in enumerate(dialect.names):
        if name == "":
            name = f"Unnamed: {i}"
            if not ((i == 0 and dialect.row_names) or (i == last and dialect.trailing)):
                dialect.notes.append(f"column {i + 1} has no name, and is called {name!r}")
        if name in seen:
            copy = 1
            while f"{name}.{copy}" in taken or f"{name}.{copy}" in seen:
                copy += 1
            dialect.notes.append(f"column {i + 1} is a second {name!r}, and is called '{name}.{copy}'")
            name = f"{name}.{copy}"
        names.append(name)
        seen.add(name)
    return names


def _leave_out(found: dict[str, np.ndarray], names: list[str], dialect: Dialect, options: Options) -> None:
    """Drops the column after a last delimiter, and one that only names the rows."""
    last = names[-1]
    if dialect.trailing and last in found and len(found) > 1 and holes(found[last]).all():
        del found[last]
    if not dialect.row_names or options.usecols is not None or names[0] not in found or len(found) < SHORTEST:
        return
    values = found[names[0]]
    different = not holes(values).any() and len(set(values.tolist())) == len(values)
    steps = values.dtype == np.int64 and (np.diff(values) == 1).all() and values[0] in (0, 1)
    if different and (dialect.names[0] == "" or steps):
        del found[names[0]]
        shown = ", ".join(map(str, values[:3].tolist())) + (", ..." if len(values) > 3 else "")
        kept = (
            f"usecols=[{', '.join(map(repr, range(len(names) - dialect.trailing)))}]" if len(names) < 6 else "usecols="
        )
        dialect.notes.append(f"the first column ({shown}) names the rows, and is left out; {kept} keeps it")
    elif dialect.names[0] == "":
        dialect.notes.append(f"column 1 has no name, and is called {names[0]!r}; usecols= leaves it out")


def _empty_rows(found: dict[str, np.ndarray]) -> np.ndarray:
    """A mask of rows without a field, as spreadsheets write them below a table; of none if all are such."""
    empty = np.ones(len(next(iter(found.values()), ())), bool)
    for values in found.values():
        if len(found) < SHORTEST or not empty.any():
            return np.zeros_like(empty)
        empty[empty] = holes(values[empty])
    return np.zeros_like(empty) if empty.all() else empty


def _becomes_text(column: Column, reader: Reader) -> bool:
    """Whether a column is text in the end. Refuses numbers that are infinite, and typing errors."""
    if column.forced or (column.texts and not column.numbers):
        return True
    if column.texts and not column.may_be_grouped(reader.decimal) and column.odd_is_rare:
        odd, first = column.odd[0], column.first_number
        more = f" (and {column.texts - 1} more)" if column.texts > 1 else ""
        raise FileFormatError(
            f"line {odd.line}, {column.where}: got {odd.field[:40]!r}{more}, expected a number, as in line "
            f"{first.line}{advice_on(odd.field, reader.decimal)}; {_missing_advice(odd.field, reader.missing)}, "  # type: ignore[union-attr]
            f"text=[{_key(column)!r}] makes the column text"
        )
    if column.texts:
        return True
    if column.endless is not None:
        raise FileFormatError(
            f"line {column.endless.line}, {column.where}: got {column.endless.field[:40]!r}, expected a finite number; "
            f"{_missing_advice(column.endless.field, reader.missing)}"
        )
    return False


def _missing_advice(field: str, missing: Missing) -> str:
    known = "*fastreg.data.MISSING, " if missing.is_default else "..., "
    return f"missing=({known}{field[:40]!r}) makes such fields missing values"


def _take(source: Lines, reader: Reader, dialect: Dialect, width: int) -> None:
    """Feeds the rows of a file to a reader, block by block."""
    while source.line < dialect.start:
        source.one()
    size = BLOCK
    while True:
        first = source.line
        block = source.block(size)
        if not block:
            return
        if first == dialect.start:
            size = max(BLOCK, LEAST_ROWS * block.find("\n"))
        if '"' not in block and dialect.delimiter.isascii():
            odd = reader.take_text(block, first, dialect.delimiter)
            if odd is not None:
                raise _ragged(*odd, dialect, width)
            continue
        numbered = list(_quoted(block, first, source, dialect.delimiter))
        for row, line in numbered:
            if len(row) != width:
                raise _ragged(line, len(row), dialect, width)
        if numbered:
            reader.take_rows([row for row, _ in numbered], np.array([line for _, line in numbered]))


def _ragged(line: int, found: int, dialect: Dialect, width: int) -> FileFormatError:
    fields = "1 field" if found == 1 else f"{found} fields"
    return FileFormatError(f"line {line} has {fields}, the first line {width} (delimiter {dialect.delimiter!r})")


def _quoted(block: str, first: int, source: Lines, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """The rows of a block with quotes, each with the line it begins in. The last row may go on beyond the block."""
    inside = block.count("\n") + (not block.endswith("\n"))

    def lines() -> Iterator[str]:
        for line in block.removesuffix("\n").split("\n"):
            yield _bare(line + "\n", delimiter)
        while line := source.one():
            yield _bare(line, delimiter)

    reader = csv.reader(lines(), delimiter=delimiter, strict=True, skipinitialspace=True)
    begin = first
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield row, begin
            begin = first + reader.line_num
            if reader.line_num >= inside:
                return
    except csv.Error as error:
        raise FileFormatError(f"line {begin}: {dialects.complaint(error)}") from None


def _bare(line: str, delimiter: str) -> str:
    """A line without the blanks that only fill it, if blanks are the delimiter."""
    return line.replace("\t", " ").strip(" \n") + "\n" if delimiter == BLANKS else line


# the targets


def _field(path: PathLike, options: Options, read: Read, line: int, number: int) -> str:
    """A field as it is in the file."""
    with open_lines(path, options.encoding) as source:
        while source.line < line:
            source.one()
        row, _ = next(_quoted(source.one(), line, source, read.delimiter))
    return row[number].strip()


def _target_names(read: Read, targets: list[int | str] | None) -> list[str]:
    names = read.table.names
    if targets is not None:
        chosen = [names[_position("target", target, names, read.table.named)] for target in targets]
        if len(set(chosen)) < len(chosen):
            raise FileFormatError(f"target: got {targets}, expected different columns")
        return chosen
    taken, certain = likely_target(read.table)
    if not certain:
        read.notes.append(
            f"the target is taken to be {taken!r}, of the columns {listed([*names])}; target= says otherwise"
        )
    return [taken]


def _targets(path: PathLike, options: Options, read: Read, names: list[str], several: bool) -> np.ndarray:
    """The target, or a matrix of several: int64, float64 or text."""
    columns = [_one_target(path, options, read, name) for name in names]
    if not several:
        return columns[0]
    is_text = [column.dtype.kind == "U" for column in columns]
    if any(is_text) and not all(is_text):
        first, other = names[is_text.index(True)], names[is_text.index(False)]
        raise FileFormatError(
            f"target: {first!r} is text and {other!r} is numbers, expected targets of one kind; read_table reads both"
        )
    return np.stack(columns, axis=1)


def _one_target(path: PathLike, options: Options, read: Read, name: str) -> np.ndarray:
    values = read.table[name]
    where = f"column {read.numbers[name] + 1}" + (f" ({name!r})" if read.table.named else "")
    key = name if read.table.named else read.numbers[name]
    if values.dtype.kind == "O" and name not in read.forced:
        numeric = {field: field is not None and is_number(field, read.decimal) for field in set(values.tolist())}
        if any(numeric.values()):  # a typing error would pass as a class
            flags = np.array([numeric[field] for field in values])
            known = ~holes(values)
            number, text = int(np.argmax(flags & known)), int(np.argmax(~flags & known))
            first, other = sorted((number, text))
            expected = "a number" if first == number else "the name of a class"
            raise FileFormatError(
                f"line {read.lines[other]}, {where}: got {values[other][:40]!r}, expected {expected}, as in line "
                f"{read.lines[first]}; text=[{key!r}] takes both as names of classes"
            )
    gone = holes(values)
    if gone.any():
        line, more = int(read.lines[gone.argmax()]), int(gone.sum()) - 1
        field = _field(path, options, read, line, read.numbers[name])
        keep = ", missing=() keeps it as the name of a class" if field and values.dtype.kind == "O" else ""
        expected = "the name of a class" if values.dtype.kind == "O" else "a finite number"
        raise FileFormatError(
            f"line {line}, {where}: got {field[:40]!r}, expected {expected}"
            + f"; {more} more targets are missing" * (more > 0)
            + f"; read_table(...).complete([{name!r}]) leaves out such rows{keep}"
        )
    if values.dtype.kind == "O":
        return np.array(values.tolist(), dtype=str)
    if values.dtype.kind == "f" and (values == np.floor(values)).all() and (abs(values) < 2**53).all():
        return values.astype(np.int64)
    return values
