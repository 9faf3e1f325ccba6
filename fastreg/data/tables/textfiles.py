"""Text files as blocks of whole lines: plain or packed, in any encoding. Errors name the cause."""

from __future__ import annotations

import codecs
import io
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from fastreg.common import checking
from fastreg.common.fileio import FileFormatError, PathLike, not_of_the_file, open_regular

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OTHERS = {  # what else people have tables in: the first bytes, and what to do
    b"\x93NUMPY": "is a .npy file: fastreg.data.read_npy reads it",
    b"PK": "is a .npz file, which fastreg.data.read reads, or a workbook of Excel: save the table as .csv",
    b"\xd0\xcf\x11\xe0": "is a workbook of Excel: save the table as .csv",
    b"PAR1": "is a Parquet file: read it with pandas.read_parquet, and pass the frame",
    b"ARROW1": "is a Feather file: read it with pandas.read_feather, and pass the frame",
    b"<!": "is a web page, not a table",
    b"<html": "is a web page, not a table",
    b"<?xml": "is XML, not a table: save the table as .csv",
    b"{": "is JSON, not a table: read it with pandas.read_json, and pass the frame",
    b"\x80": "is no text; perhaps a pickle, which fastreg does not open",
}
# the first bytes, and Python's module
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma", b"PK\3\4": "zipfile"}


class Lines:
    """The lines of an open text file, taken in blocks. `line` is the number of the next line."""

    def __init__(self, text: io.TextIOBase):
        self.text = text
        self.line = 1

    def block(self, size: int) -> str:
        """About `size` characters, up to the end of a line. Empty at the end of the file."""
        block = self.text.read(size)
        if block and not block.endswith("\n"):
            block += self.text.readline()
        self.line += block.count("\n")
        return block

    def one(self) -> str:
        """The next line. Empty at the end of the file."""
        line = self.text.readline()
        self.line += bool(line)
        return line


@contextmanager
def open_lines(path: PathLike, encoding: str = "utf-8") -> Iterator[Lines]:
    """Opens a text file: packed by gzip, bzip2, xz or zip, or plain. A byte order mark decides the encoding."""
    checked_encoding(encoding)
    outer = sys.exc_info()[1]
    with open_regular(path) as (file, _), _unpacked(file) as plain:
        try:
            start = plain.read(1000)
            for magic, what in OTHERS.items():
                if start.startswith(magic):
                    raise FileFormatError(what)
            encoding = next((name for mark, name in BOMS if start.startswith(mark)), encoding)
            if b"\0" in start and not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
                raise FileFormatError(_what_has_zeros(start))
            plain.seek(0)
            with io.TextIOWrapper(plain, encoding, newline=None) as text:
                yield Lines(text)
        except UnicodeDecodeError:
            raise FileFormatError(_why_not(path, encoding)) from None
        except (EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(error, outer) from None
        except Exception as error:  # BadGzipFile and bzip2's are OSErrors without a number, LZMAError is its own kind
            if type(error).__name__ == "LZMAError" or isinstance(error, OSError):
                raise _damaged(error, outer) from None
            raise


def _damaged(error: Exception, outer: BaseException | None) -> BaseException:
    """What an error of an unpacker says of the file, if it says something: they are of many types."""
    return not_of_the_file(error, outer) or FileFormatError(f"is damaged: {error}")


def checked_encoding(encoding: Any) -> str:
    """`encoding`, one that Python can decode."""
    try:
        codecs.lookup(encoding)
        b"".decode(encoding)
    except (LookupError, TypeError, ValueError):
        got = f"encoding: got {checking.shown(encoding)}"
        raise ValueError(f"{got}, expected the name of an encoding, such as 'utf-8' or 'latin-1'") from None
    return encoding


@contextmanager
def _unpacked(file: Any) -> Iterator[Any]:
    outer = sys.exc_info()[1]
    start = file.read(6)
    file.seek(0)
    name = next((module for magic, module in PACKED.items() if start.startswith(magic)), None)
    if name is None:
        yield file
        return
    with _member(file) if name == "zipfile" else import_module(name).open(file) as opened:
        try:
            opened.read(1)
            opened.seek(0)
        except Exception as error:
            raise _damaged(error, outer) from None
        yield opened


def _member(file: Any) -> Any:
    """The only file in a zip archive, opened. Archives of several are something else: .npz, workbooks."""
    outer = sys.exc_info()[1]
    try:
        archive = zipfile.ZipFile(file)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(names) != 1 or names[0].endswith(".npy"):
            raise FileFormatError(OTHERS[b"PK"])
        return archive.open(names[0])
    except FileFormatError:
        raise
    except Exception as error:
        raise _damaged(error, outer) from None


def is_packed_table(path: PathLike) -> bool:
    """Whether a zip archive holds a single file that is not an array."""
    with open_regular(path) as (file, _), suppress(FileFormatError), _member(file):
        return True
    return False


def _what_has_zeros(start: bytes) -> str:
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, letters = start[offset::2], start[1 - offset :: 2]
        if len(start) > 3 and zeros.count(0) > 0.9 * len(zeros) and letters.count(0) < 0.1 * len(letters) + 1:
            return f'is not UTF-8: it looks like UTF-16; encoding="{name}" reads it'
    return "has no known format: fastreg reads IDX, .npz, .npy and .csv"


def _why_not(path: PathLike, encoding: str) -> str:
    """Which byte cannot be decoded, where, and which encoding would read it."""
    if encoding.lower().startswith(("utf-16", "utf-32")):
        return f"is damaged: not all of it is {encoding}"
    with open_regular(path) as (file, _), _unpacked(file) as plain:
        number, line, at = 0, b"", -1
        while at < 0 and (line := plain.readline()):
            number += 1
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                at = error.start
        if at < 0:
            return f"is damaged: not all of it is {encoding}"
        if number == 1 and not line[:8].isascii() and sum(c < 9 or 13 < c < 32 for c in line):
            return "has no known format: fastreg reads IDX, .npz, .npy and .csv"
        rest = line + plain.read(1 << 20)
    likely = "cp1252" if any(0x80 <= c < 0xA0 for c in rest) else "latin-1"
    try:
        rest.decode(likely)
    except UnicodeDecodeError:
        likely = "latin-1"
    around = line[max(0, at - 12) : at + 12].decode(likely, "replace").strip()
    name = "UTF-8" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding
    return f'line {number}: the byte 0x{line[at]:02x} is not {name}; encoding="{likely}" reads it as {around!r}'
