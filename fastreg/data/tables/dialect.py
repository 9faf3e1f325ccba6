"""How a table is written: delimiter, header, decimal comma. Found from its first lines, as far as they tell."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fastreg.common import checking
from fastreg.common.fileio import FileFormatError
from fastreg.data.tables.fields import COMMA, GROUPED, Missing, is_grouped, is_number, looks_grouped
from fastreg.data.tables.textfiles import Lines

SAMPLE = 1 << 18  # characters that are looked at
LEAST_LINES = 20  # that are looked at, however long they are
SAMPLE_LINES = 200  # lines by which the delimiter is found
SAMPLE_ROWS = 1000  # rows by which header and decimal comma are found
DELIMITERS = "\t;|,"  # in the order of how sure they are, where several would do
BLANKS = " "  # runs of blanks and tabs
ALIASES = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"} | dict.fromkeys(
    ("whitespace", "blanks", "blank", "space", r"\s+"), BLANKS
)
NO_TABLE = (
    "is not a table of at least two columns: fastreg reads IDX, .npz, .npy and .csv; delimiter= names a separator that "
    "is none of , ; | tab and blanks"
)
LABELS = ("label", "labels", "target", "targets", "class", "y")  # names that say which column is the target
LEAST_SERIES = 5  # numbers in a row that count up, such as years, are taken for names from this many on


@dataclass
class Dialect:
    """How a table is written."""

    delimiter: str
    decimal: str
    names: list[str]  # of all columns; "" where the header has none
    named: bool  # whether the names are in the file or were given
    start: int  # the line of the first row
    row_names: bool = False  # whether the first column may only name the rows
    trailing: bool = False  # whether each row may end with a delimiter, which opens no column
    notes: list[str] = field(default_factory=list)  # what was not certain


def checked_delimiter(delimiter: Any) -> str:
    """The argument `delimiter`: one character, or "auto"."""
    if isinstance(delimiter, str):
        delimiter = ALIASES.get(delimiter, delimiter)
        if delimiter == "auto" or (len(delimiter) == 1 and delimiter not in '"\r\n\0#.' and not delimiter.isalnum()):
            return delimiter
    got = f"delimiter: got {checking.shown(delimiter)}"
    raise ValueError(f"{got}, expected 'auto' or one character such as ',', ';', '\\t', '|' or ' ' (runs of blanks)")


def checked_header(header: Any) -> str | int | list[str] | None:
    """The argument `header`: "auto", None (there is none), a number of a row, or names."""
    if header is None or header is False:
        return None
    if header is True:
        return 0
    if isinstance(header, str):
        if header in ("auto", "infer"):
            return "auto"
    elif isinstance(header, (list, tuple)):
        names = [checking.text(f"header[{i}]", name) for i, name in enumerate(header)]
        if names and len(set(names)) == len(names):
            return names
    else:
        return checking.integer("header", header, 0)
    got = f"header: got {checking.shown(header)}"
    raise ValueError(f"{got}, expected 'auto', True (the first line has the names), False or a list of different names")


def split_rows(lines: list[str], delimiter: str, first: int) -> tuple[list[tuple[int, list[str]]], str | None]:
    """Rows with the lines they begin in; what the parser complains of, if it does. Blank lines are left out."""
    rows: list[tuple[int, list[str]]] = []
    if delimiter == BLANKS:
        lines = [line.replace("\t", " ").strip() for line in lines]
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    begin = first
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                rows.append((begin, row))
            begin = first + reader.line_num
    except csv.Error as error:
        return rows, f"line {begin}: {complaint(error)}"
    return rows, None


def complaint(error: csv.Error) -> str:
    """What Python's parser complains of, in words for users."""
    text = str(error)
    if "unexpected end" in text or "field limit" in text:
        return f"a quote is opened and not closed, or a field has more than {csv.field_size_limit():,} characters"
    return f"something follows a closing quote ({text})" if "expected after" in text else text


def find(source: Lines, header: Any, delimiter: str, decimal: str, missing: Missing) -> Dialect:
    """The dialect of a file, from its first lines and what the caller says."""
    block = source.block(SAMPLE)
    while source.line <= LEAST_LINES and (line := source.one()):
        block += line
    is_whole = not source.one()
    lines = block.rstrip("\n").split("\n") if block.strip() else []
    first, comment = 0, ""
    while first < len(lines) and (not lines[first].strip() or lines[first].lstrip().startswith("#")):
        comment = lines[first].lstrip().lstrip("#").strip() or comment
        first += 1
    if first < len(lines) and (sep := re.fullmatch(r'"?sep=(.)"?', lines[first].strip(), re.IGNORECASE)):
        delimiter = checked_delimiter(sep[1]) if delimiter == "auto" else delimiter  # as Excel writes it
        first += 1
    if first >= len(lines):
        raise FileFormatError("has no rows" if lines else "is empty")
    if delimiter == "auto":
        delimiter = find_delimiter([line for line in lines[first:] if line.strip()][:SAMPLE_LINES], decimal)
    found, wrong = split_rows(lines[first:], delimiter, first + 1)
    if not is_whole and wrong:  # a quoted field may go on beyond the sample
        wrong = None if len(found) > 1 else wrong
    if wrong and len(found) < 2:
        raise FileFormatError(wrong)
    if not found:
        raise FileFormatError("has no rows")
    found = found[: SAMPLE_ROWS + 1]
    if isinstance(header, int):
        if header >= len(found):
            raise FileFormatError(f"header: got {header}, but the file has {len(found)} rows")
        found = found[header:]
    rows = [row for _, row in found]
    if header == "auto" and len(rows) > 2 and len(rows[0]) == 1 < len(rows[1]) == len(rows[-1]):
        raise FileFormatError(
            f"line {found[0][0]} has 1 field, line {found[1][0]} {len(rows[1])}; header=1 takes the names from the "
            f"latter (delimiter {delimiter!r})"
        )
    dialect = Dialect(delimiter, decimal, [], True, found[0][0])
    if decimal == ".":
        dialect.decimal = find_decimal(rows, delimiter, dialect.notes)
    if header == "auto":
        is_header = looks_like_header(rows, dialect.decimal, missing, dialect.notes, found[0][0])
    else:
        is_header = isinstance(header, int)
    if is_header:
        if len(found) < 2:
            raise FileFormatError("has no rows" if len(rows[0]) > 1 else NO_TABLE)
        dialect.start = found[1][0]
        dialect.names = [
            " ".join("".join(c for c in name if c.isprintable() or c.isspace()).split()) for name in rows[0]
        ]
        rows = rows[1:]
        if all(len(row) == len(dialect.names) + 1 for row in rows):
            if all(not row[-1].strip() for row in rows):
                dialect.names.append("")  # a delimiter at the end of each row, but not of the header
            else:
                dialect.names.insert(0, "")  # names of rows, as R writes them
        dialect.row_names = dialect.names[0] == "" or dialect.names[0] == "Unnamed: 0"
        dialect.trailing = dialect.names[-1] == ""
        return dialect
    width = len(rows[0])
    dialect.trailing = width > 1 and all(not row[-1].strip() for row in rows)
    if isinstance(header, list):
        if len(header) != width - dialect.trailing:
            raise FileFormatError(f"header: got {len(header)} names, but line {dialect.start} has {width} fields")
        dialect.names = [*header, ""][:width]
        return dialect
    dialect.names = [str(i) for i in range(width)]
    dialect.named = False
    if comment and header == "auto":
        names = [name.strip() for name in split_rows([comment], delimiter, 1)[0][0][1]]
        if width > 1 and all(names) and len(set(names)) == len(names) == width and not any(map(is_number, names)):
            dialect.names, dialect.named = names, True
            dialect.notes.append(
                f"the names of the columns are those of the comment before them: {listed(names)}; header=False leaves "
                "it a comment"
            )
    return dialect


def find_delimiter(lines: list[str], decimal: str) -> str:
    """The delimiter that cuts all lines into as many fields. The surest first; else the first line's most frequent."""
    bare = [re.sub(r'"[^"]*"', "", line) for line in lines]
    words = [re.sub(r'"[^"]*"', "q", line).split() for line in lines]
    blanks_do = _is_even([len(line) for line in words], 1)
    for delimiter in DELIMITERS:
        counts = [line.count(delimiter) for line in bare]
        if _is_even(counts, 0):
            more = blanks_do and len(words[-1]) > 2 * counts[-1] + 1
            if delimiter == "\t" and more and all(is_number(word) for line in words[1:] for word in line[:2]):
                return BLANKS  # between numbers, and one tab before a text
            if delimiter == "," and blanks_do:
                # "1,5 2,25" has decimal commas; "1, 2" has delimiters
                tight = all(re.search(r",(\s|$)|(^|\s),", line.strip()) is None for line in bare)
                if tight and all(
                    COMMA.fullmatch(word) or is_number(word) for line in bare[1:] for word in line.split()
                ):
                    return BLANKS
            if delimiter == "," and decimal == ",":
                return BLANKS if blanks_do else ","
            return delimiter
    if blanks_do:
        return BLANKS
    if len(lines) > 1 and not any(delimiter in bare[0] for delimiter in DELIMITERS):  # perhaps a title
        for delimiter in DELIMITERS:
            if _is_even([line.count(delimiter) for line in bare[1:]], 0):
                return delimiter
    return max(DELIMITERS[::-1], key=bare[0].count)


def _is_even(counts: list[int], least: int) -> bool:
    """Whether all lines have as many. The first may have one less: a header without a name for the rows' names."""
    return min(counts) > least and len(set(counts[1:])) <= 1 and counts[0] in (counts[-1], counts[-1] - 1)


def find_decimal(rows: list[list[str]], delimiter: str, notes: list[str]) -> str:
    """A comma, if all that have one are numbers with it, and none has a point. Certain only beyond doubt."""
    fields = [field.strip() for row in rows for field in row]
    with_comma = [field for field in fields if "," in field]
    numbers = [field for field in with_comma if COMMA.fullmatch(field) or is_grouped(field, ",")]
    if not numbers:
        return "."
    if pointed := [field for field in fields if "." in field and is_number(field)]:
        return _decimal_of_both(rows, delimiter, pointed, notes)
    if any(map(is_grouped, with_comma)):  # commas between thousands
        return "."
    if all(GROUPED.fullmatch(field) for field in numbers):
        notes.append(
            f"it is not certain what {numbers[0]!r} is, so it is text; decimal=',' reads it as "
            f"{numbers[0].replace(',', '.')}"
        )
        return "."
    if delimiter == ",":
        notes.append(f"{numbers[0]!r} is taken for a number with a decimal comma; text=[...] keeps its column as text")
    return ","


def _decimal_of_both(rows: list[list[str]], delimiter: str, pointed: list[str], notes: list[str]) -> str:
    """The decimal mark where some numbers have a point, and others may have a comma."""
    columns = [[field for field in map(str.strip, column) if field] for column in zip(*rows[1:], strict=False)]
    with_commas = [column for column in columns if all(is_number(f, ",") or looks_grouped(f, ",") for f in column)]
    found = [f for column in with_commas for f in column if COMMA.fullmatch(f) and not GROUPED.fullmatch(f)]
    if delimiter == "," or not found:
        return "."
    if all(looks_grouped(field, ",") for field in pointed):  # as Germans write 1234
        notes.append(
            f"{pointed[0]!r} is taken for {pointed[0].replace('.', '')}, since {found[0]!r} has a decimal comma; "
            "text=[...] keeps a column as text"
        )
        return ","
    if any(column and all(map(COMMA.fullmatch, column)) for column in with_commas):
        notes.append(
            f"some numbers have a point ({pointed[0]!r}), others a comma ({found[0]!r}), and the latter are text; "
            "decimal=',' reads them as numbers"
        )
    return "."


def looks_like_header(rows: list[list[str]], decimal: str, missing: Missing, notes: list[str], line: int) -> bool:
    """Whether the first row names the columns. Where it is not certain, `notes` says what it was taken for."""
    first = [field.strip() for field in rows[0]]
    width = len(first)
    below = [row for row in rows[1:] if len(row) in (width, width + 1)]
    shift = 1 if below and all(len(row) == width + 1 for row in below) and any(row[-1].strip() for row in below) else 0
    texts = [bool(field) and not _numberlike(field, decimal) and field not in missing.texts for field in first]
    numeric = [_numberlike(field, decimal) for field in first]
    shown = listed(first)
    as_names = f"line {line} ({shown}) is taken as the names of the columns; header=False makes it a row"
    as_row = f"line {line} ({shown}) is taken as a row, not as names; header=True makes it the names"
    if not below:
        return not any(numeric)

    def column(i: int) -> list[str]:
        fields = (row[i + shift].strip() for row in below)
        return [field for field in fields if field not in missing.texts]

    def is_numbers(i: int) -> bool:
        fields = column(i)
        return bool(fields) and all(is_number(field, decimal) for field in fields)

    over_numbers = [i for i in range(width) if texts[i] and is_numbers(i)]
    names = first[1:] if not first[0] else first  # without the name that an index lacks
    if not any(numeric):
        if over_numbers:
            return True
        if not any(texts):
            return False
        return _is_header_of_text(names, first, [column(i) for i in range(width)], notes, as_names, as_row)
    integers = [int(field) for field in names if re.fullmatch("[0-9]{1,9}", field)]
    if len(integers) == len(names):
        counts_up = integers == list(range(integers[0], integers[0] + len(integers)))
        second = [field.strip() for field in below[0]]
        also = second[0].isdecimal() and second == [str(int(second[0]) + i) for i in range(len(second))]
        if counts_up and len(names) < width:
            return True  # an index, and names that count
        if counts_up and integers[0] == 0 and width > 2:
            if also:
                notes.append(as_names)
            return True
        pointed = all(
            (fields := column(i)) and all(re.search("[.,eE]", field) and is_number(field, decimal) for field in fields)
            for i in range(width)
        )
        rises = len(set(integers)) == len(integers) and integers == sorted(integers)
        if (counts_up and width >= LEAST_SERIES and not also) or (pointed and rises and width > 1 and len(below) > 1):
            notes.append(as_names)
            return True
        if counts_up and integers[0] == 0 and width == 2:
            notes.append(as_row)
        return False
    # names and numbers: "label,0,1" above numbers
    rises = len(set(integers)) == len(integers) == sum(numeric) and integers == sorted(integers)
    if not rises or not any(first[i][0].isalpha() or first[i][0] == "_" for i in over_numbers):
        return False
    if integers != list(range(integers[0], integers[0] + len(integers))) or len(integers) < 2:
        notes.append(as_names)
    return True


def _is_header_of_text(
    names: list[str], first: list[str], columns: list[list[str]], notes: list[str], as_names: str, as_row: str
) -> bool:
    """Text above text. A row of data has fields that come again below; names do not."""
    again = [field in fields for field, fields in zip(first, columns, strict=True)]
    if len(set(names)) == len(names):
        if any(field.casefold() in LABELS and not seen for field, seen in zip(first, again, strict=True)):
            return True
        if not any(again):
            if not any(fields and min(Counter(fields).values()) > 1 for fields in columns):
                notes.append(as_names)
            return True
    notes.append(as_row)
    return False


def _numberlike(field: str, decimal: str) -> bool:
    """Whether Python reads it as a number: nan, inf and 1_0 are such, so that they are in no header."""
    try:
        float(field.replace(",", ".") if decimal == "," else field)
    except ValueError:
        return False
    return True


def listed(names: list[str]) -> str:
    """The first few of some names."""
    shown = [name if len(name) <= 24 else name[:21] + "..." for name in names[:5]]
    return ", ".join(shown + ["..."] * (len(names) > 5))
