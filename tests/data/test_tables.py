"""Tables in text files: values by hand and by pandas, what is found by itself, what is said, what is refused."""

import bz2
import gzip
import io
import lzma
import re
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg import data
from fastreg.model.files import FileFormatError

NAN = float("nan")


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        content = text if isinstance(text, bytes) else text.encode(encoding)
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def same(table, names, rows):
    assert list(table.names) == names
    assert repr(table.tolist()) == repr([tuple(row) for row in rows])


# values by hand, in silence: warnings are errors here

CSV = {
    "plain": ("1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
    "header, no last newline": ("a,b,c\n1,2,0\n3,4,1", [[1, 2], [3, 4]], [0, 1]),
    "classes as text": ("1;2;no\r\n3;4;yes\r\n\r\n5;6;no\r\n", [[1, 2], [3, 4], [5, 6]], ["no", "yes", "no"]),
    "quoted names with other marks in them": ('"a, b";"c, d";"k"\n1;2;0\n', [[1, 2]], [0]),
    "names that begin with digits": ("p,1x1,1x2\n1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
    "blank lines about it": ("\n1,2,0\n\n3,4,1\n \n\n", [[1, 2], [3, 4]], [0, 1]),
    "signs, exponents, spaces": ("+1, -2.e0 ,0\n.5,1E-1,1\n", [[1, -2], [0.5, 0.1]], [0, 1]),
    "byte order mark, numbers": ("\ufeff1,2,0\n", [[1, 2]], [0]),
    "byte order mark, tabs, quotes": ('\ufeff"a"\t"b"\n1e3\t.5\n', [[1000]], [0.5]),
    "old Macs": ("a,b\r1,2\r3,4\r", [[1], [3]], [2, 4]),
    "numbers as names": ("0,1,2\n5,6,1\n7,8,0\n", [[5, 6], [7, 8]], [1, 0]),
    "a name and numbers as names": ("0,1,label\n2,0,5\n4,1,3\n", [[2, 0], [4, 1]], [5, 3]),
    "counting, but a row": ("3,4,5\n1,2,3\n", [[3, 4], [1, 2]], [5, 3]),
    "blanks": ("1.5   2 0\n  3.5 4\t1 \n", [[1.5, 2], [3.5, 4]], [0, 1]),
    "blanks and names": ("a b y\n1 2 0\n", [[1, 2]], [0]),
    "bars": ("a|b|y\n1|2|0\n", [[1, 2]], [0]),
    "comments": ("# made by x\n#\n\na,y\n1,0\n", [[1]], [0]),
    "decimal commas": ("1,5;2,25;0\n3,0;4,1;1\n", [[1.5, 2.25], [3, 4.1]], [0, 1]),
    "decimal commas and blanks": ("1,5 2,25 0\n-3,0 4,1 1\n", [[1.5, 2.25], [-3, 4.1]], [0, 1]),
    "Excel says it": ("sep=;\na;y\n1;0\n", [[1]], [0]),
    "a delimiter at the ends": ("a,b,y,\n1,2,0,\n3,4,1,\n", [[1, 2], [3, 4]], [0, 1]),
    "a delimiter at the ends of rows": ("a,b,y\n1,2,0,\n3,4,1,\n", [[1, 2], [3, 4]], [0, 1]),
    "a delimiter at the ends, no names": ("1,2,0,\n3,4,1,\n", [[1, 2], [3, 4]], [0, 1]),
    "commas between thousands": (
        'a,b,y\n"1,234,567",1,0\n"12,000",2,1\n900,2,1\n',
        [[1234567, 1], [12000, 2], [900, 2]],
        [0, 1, 1],
    ),
    "points between thousands": ("a;y\n1.234,5;0\n2,25;1\n", [[1234.5], [2.25]], [0, 1]),
    "the minus of typesetters": ("a,y\n\u22125,0\n2,1\n", [[-5], [2]], [0, 1]),
    "blanks, and a tab before a text": (
        '18.0   8  3504.\t"chevrolet malibu"\n15.0   8  3693.\t"buick 320"\n25.0   4  2046.\t"ford pinto"\n',
        [[18, 8, 3504], [15, 8, 3693], [25, 4, 2046]],
        ["chevrolet malibu", "buick 320", "ford pinto"],
    ),
    "blanks before quotes": ('a, y\n1, "p, q"\n2, "r"\n', [[1], [2]], ["p, q", "r"]),
    "whole numbers as floats": ("1,2.0\n3,4.0\n", [[1], [3]], [2, 4]),
    "fractions": ("1,2.5\n3,4.0\n", [[1], [3]], [2.5, 4]),
}


@pytest.mark.parametrize(("text", "X", "y"), CSV.values(), ids=CSV)
def test_csv(write, text, X, y):
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
        path = write(pack(text.encode()))
        X_read, y_read = data.read_csv(path)
        assert X_read.dtype == np.float64 and y_read.dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(X_read, X)
        np.testing.assert_array_equal(y_read, y)
        [(X_read, y_read)] = data.read(path)
        np.testing.assert_array_equal(X_read, X)


TABLES = {
    "kinds": (
        "town,day,member,price,rooms\nrome,2020-01-02,true,1.5,3\noslo,2021-02-03,false,2,4\n",
        ["town", "day", "member", "price", "rooms"],
        [("rome", "2020-01-02", "true", 1.5, 3), ("oslo", "2021-02-03", "false", 2.0, 4)],
    ),
    "holes": (
        "town,price,rooms\nrome,1.5,NA\n,?,4\nnull, ,5\n",
        ["town", "price", "rooms"],
        [("rome", 1.5, NAN), (None, NAN, 4.0), (None, NAN, 5.0)],
    ),
    "quotes": (
        'a,b\n"x, ""y""\nz",1\n"w\n\n",2\n',
        ["a", "b"],
        [('x, "y"\nz', 1), ("w", 2)],
    ),
    "one column": ("x\n1\n2\n", ["x"], [(1,), (2,)]),
    "one column without a name": ("1\n2\n", ["0"], [(1,), (2,)]),
    "one row": ("1,x\n", ["0", "1"], [(1, "x")]),
    "beyond floats": ("a,b\n9007199254740993,-9223372036854775807\n", ["a", "b"], [(2**53 + 1, 1 - 2**63)]),
    "names with blanks": ("  a  b ,c\n1,2\n", ["a b", "c"], [(1, 2)]),
    "no fields": ("a,b,c\n1,,x\n2,,y\n", ["a", "b", "c"], [(1, NAN, "x"), (2, NAN, "y")]),
    "text alone": ("kind,size\ncat,big\ndog,big\ncat,small\ndog,small\n", ["kind", "size"],
                   [("cat", "big"), ("dog", "big"), ("cat", "small"), ("dog", "small")]),
    "plus and minus are names": ("1,+\n2,-\n", ["0", "1"], [(1, "+"), (2, "-")]),
    "codes": ("a,b\nA1,1\n7,2\nB2,3\n", ["a", "b"], [("A1", 1), ("7", 2), ("B2", 3)]),
    "semicolons in text": ("a,b\nx;y,1\nz,2\n", ["a", "b"], [("x;y", 1), ("z", 2)]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "names", "rows"), TABLES.values(), ids=TABLES)
def test_tables(write, text, names, rows):
    same(data.read_table(write(text)), names, rows)


def test_kinds_of_results(write):
    path = write("town,rooms,price\nrome,3,1.5\noslo,,2\n")
    table = data.read_table(path)
    assert table.kinds == ("text", "number", "number") and table.named
    X, y = data.read_csv(path)
    assert isinstance(X, data.Table) and X.names == ("town", "rooms") and y.tolist() == [1.5, 2]
    X, y = data.read_csv(path, usecols=["price"], target="town")
    assert isinstance(X, np.ndarray) and X.tolist() == [[1.5], [2]] and y.tolist() == ["rome", "oslo"]
    X, _ = data.read_csv(path, usecols=["rooms", "price"])
    assert isinstance(X, data.Table) and X.names == ("rooms",) and X.has_holes
    assert not data.read_table(write("1,2\n3,4\n")).named


# what is not certain is said

SAID = {
    "a pandas index": (
        ",a,y\n0,5,1\n1,6,0\n",
        ["a", "y"],
        [(5, 1), (6, 0)],
        r"the first column \(0, 1\) names the rows, and is left out; usecols=\[0, 1, 2\] keeps it",
    ),
    "an index and numbers as names": (
        ",0,1\n7,5,1\n3,6,0\n", ["0", "1"], [(5, 1), (6, 0)], "the first column .* names the rows"
    ),
    "R's names of rows": (
        '"mpg","cyl"\n"Mazda RX4",21,6\n"Datsun",22.8,4\n', ["mpg", "cyl"], [(21.0, 6), (22.8, 4)],
        r"the first column \(Mazda RX4, Datsun\) names the rows",
    ),
    "an index saved again": (
        "Unnamed: 0,a,y\n0,5,1\n1,6,0\n", ["a", "y"], [(5, 1), (6, 0)], "the first column .* names the rows"
    ),
    "no name, but values": (
        ",a,y\n3,5,1\n3,6,0\n", ["Unnamed: 0", "a", "y"], [(3, 5, 1), (3, 6, 0)], "column 1 has no name"
    ),
    "no name within": ("a,,y\n3,5,1\n", ["a", "Unnamed: 1", "y"], [(3, 5, 1)], "column 2 has no name"),
    "a name twice": ("a,a,y\n3,5,1\n", ["a", "a.1", "y"], [(3, 5, 1)], "column 2 is a second 'a'"),
    "text alone, with names": (
        "a,b\nx,y\nz,w\n", ["a", "b"], [("x", "y"), ("z", "w")],
        r"line 1 \(a, b\) is taken as the names of the columns; header=False makes it a row",
    ),
    "text alone, without names": (
        "p,x\ne,x\np,y\n", ["0", "1"], [("p", "x"), ("e", "x"), ("p", "y")],
        r"line 1 \(p, x\) is taken as a row, not as names; header=True makes it the names",
    ),
    "counting": ("0,1\n1,1\n2,0\n", ["0", "1"], [(0, 1), (1, 1), (2, 0)], r"line 1 \(0, 1\) is taken as a row"),
    "years as names": (
        "2001,2002,2003,2004,2005\n1,5,3,2,1\n", ["2001", "2002", "2003", "2004", "2005"], [(1, 5, 3, 2, 1)],
        r"line 1 \(2001, 2002, 2003, 2004, 2005\) is taken as the names",
    ),
    "whole numbers above fractions": (
        "0,1\n0.5,1.5\n2.5,1.0\n", ["0", "1"], [(0.5, 1.5), (2.5, 1.0)], r"line 1 \(0, 1\) is taken as the names"
    ),
    "names in a comment": (
        "# a b y\n1.0 2.0 0\n", ["a", "b", "y"], [(1.0, 2.0, 0)], "the names of the columns are those of the comment"
    ),
    "a comma in numbers": (
        "a;y\n1,234;0\n5,678;1\n", ["a", "y"], [("1,234", 0), ("5,678", 1)],
        "it is not certain what '1,234' is, so it is text; decimal=',' reads it as 1.234",
    ),
    "points between thousands, and decimal commas": (
        "a;b;y\n1.234;0,5;0\n950;3;1\n", ["a", "b", "y"], [(1234, 0.5, 0), (950, 3.0, 1)],
        r"'1\.234' is taken for 1234, since '0,5' has a decimal comma; text=",
    ),
    "points and commas": (
        "a;b;y\n1.25;0,5;0\n9.5;3,5;1\n", ["a", "b", "y"], [(1.25, "0,5", 0), (9.5, "3,5", 1)],
        r"some numbers have a point \('1\.25'\), others a comma \('0,5'\), and the latter are text; decimal=','",
    ),
    "decimal commas in quotes": (
        'a,b,y\n"1,5","2,25",0\n"3,0","4,10",1\n', ["a", "b", "y"], [(1.5, 2.25, 0), (3.0, 4.1, 1)],
        "'1,5' is taken for a number with a decimal comma; text=",
    ),
    "a name that comes again": (
        "class,mail\nspam,mail\nham,x\n", ["class", "mail"], [("spam", "mail"), ("ham", "x")], None
    ),
    "votes": (
        "y,n\ny,y\nn,n\n", ["0", "1"], [("y", "n"), ("y", "y"), ("n", "n")], "line 1 .* is taken as a row"
    ),
    "numbers and text": (
        "a,y\n1,0\n2,1\nx,0\nz,1\n", ["a", "y"], [("1", 0), ("2", 1), ("x", 0), ("z", 1)],
        r"column 1 \('a'\) has numbers \(line 2: 1\) and text \(line 4: 'x'\), so it is text",
    ),
    "empty rows": (
        "a,b,y\n1,2,x\n3,4,z\n,,\n,,\n", ["a", "b", "y"], [(1, 2, "x"), (3, 4, "z")],
        "all fields of line 4 and of 1 more are empty; such rows are left out",
    ),
    "units": ("a,y\n$5,0\n$6.5,1\n", ["a", "y"], [("$5", 0), ("$6.5", 1)], r"column 1 \('a'\) is text, since .* '\$5'"),
    "too large to be exact": (
        "a,y\n9007199254740993,0\n1.5,1\n", ["a", "y"], [(9007199254740992.0, 0), (1.5, 1)],
        r"line 2, column 1 \('a'\): 9007199254740993 is too large to be exact, .*; text=\['a'\] keeps",
    ),
    "beyond int64": (
        "a,y\n2,0\n100000000000000000000,1\n", ["a", "y"], [(2.0, 0), (1e20, 1)], None
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "names", "rows", "said"), SAID.values(), ids=SAID)
def test_what_is_not_certain_is_said(write, text, names, rows, said):
    path = write(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = data.read_table(path)
    same(table, names, rows)
    messages = [str(warning.message) for warning in caught]
    if said is None:
        assert messages == []
        return
    assert len(messages) == 1 and re.search(said, messages[0]) and messages[0].startswith(f"{path}: ")
    assert caught[0].filename == __file__ and caught[0].category is UserWarning


def test_warnings_point_to_the_caller(write):
    path = write(",a,y\n0,5,1\n1,6,0\n")
    for read in (data.read_table, data.read_csv, data.read):
        with pytest.warns(UserWarning, match="names the rows") as caught:
            read(path)
        assert [warning.filename for warning in caught] == [__file__]


def test_options_say_otherwise(write):
    read = data.read_table
    same(read(write(",a,y\n0,5,1\n1,6,0\n"), usecols=[0, 1, 2]), ["Unnamed: 0", "a", "y"], [(0, 5, 1), (1, 6, 0)])
    same(read(write("0,1,2\n5,6,7\n"), header=False), ["0", "1", "2"], [(0, 1, 2), (5, 6, 7)])
    same(read(write("5,6,7\n0,1,2\n"), header=True), ["5", "6", "7"], [(0, 1, 2)])
    same(read(write("5,6,7\n0,1,2\n"), header=None), ["0", "1", "2"], [(5, 6, 7), (0, 1, 2)])
    same(read(write("made by x\na,b\n1,2\n"), header=1, delimiter=","), ["a", "b"], [(1, 2)])
    same(read(write("1,x\n2,y\n"), header=["n", "k"]), ["n", "k"], [(1, "x"), (2, "y")])
    same(read(write("# a b\n1 2\n"), header=False), ["0", "1"], [(1, 2)])
    same(read(write("a;y\n1,234;0\n"), decimal=","), ["a", "y"], [(1.234, 0)])
    same(read(write("a;y\n1.234;0\n7;1\n"), decimal=","), ["a", "y"], [(1234, 0), (7, 1)])
    same(read(write("a;y\n1,5;\n,5;1\n")), ["a", "y"], [(1.5, NAN), (0.5, 1.0)])
    same(read(write("a:b\n1:2\n"), delimiter=":"), ["a", "b"], [(1, 2)])
    same(read(write("a\tb c\n1\t2 3\n"), delimiter="\\t"), ["a", "b c"], [(1, "2 3")])
    same(read(write("a  b\n1\t2\n"), delimiter=r"\s+"), ["a", "b"], [(1, 2)])
    same(read(write("code,y\n007,0\n010,1\n"), text=["code"]), ["code", "y"], [("007", 0), ("010", 1)])
    same(read(write("code,y\n007,0\nx,1\n008,1\n"), text=[0]), ["code", "y"], [("007", 0), ("x", 1), ("008", 1)])
    same(read(write("a,b,c\n1,2,3\n"), usecols=["c", 0]), ["a", "c"], [(1, 3)])


def test_missing(write):
    path = write("a,b,y\n1,NA,0\n-999,x,1\n-999.0,unknown,0\n")
    same(data.read_table(path), ["a", "b", "y"], [(1.0, None, 0), (-999.0, "x", 1), (-999.0, "unknown", 0)])
    same(data.read_table(path, missing=()), ["a", "b", "y"],
         [(1.0, "NA", 0), (-999.0, "x", 1), (-999.0, "unknown", 0)])  # fmt: skip
    for missing in ([-999, "unknown"], ("-999", "unknown"), (-999.0, "unknown")):
        same(data.read_table(path, missing=missing), ["a", "b", "y"],
             [(1.0, "NA", 0), (NAN, "x", 1), (NAN, None, 0)])  # fmt: skip
    assert {"NA", "nan", "null", "?", ""} < set(data.MISSING)
    same(data.read_table(write("a,b\n1,-999\n2,3\n"), missing=(-999,)), ["a", "b"], [(1, NAN), (2, 3.0)])


def test_encodings(write):
    text = "größe,y\n1,0\n2,1\n"
    rows = [(1, 0), (2, 1)]
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        same(data.read_table(write(text, encoding=encoding)), ["größe", "y"], rows)
    for encoding in ("utf-16-le", "utf-16-be", "latin-1"):
        same(data.read_table(write(text, encoding=encoding), encoding=encoding), ["größe", "y"], rows)
        with pytest.raises(FileFormatError, match=rf'encoding="{encoding}" reads it'):
            data.read_table(write(text, encoding=encoding))
    path = write("a,y\n1,0\n2,0\n€,1\n", encoding="cp1252")
    with pytest.raises(FileFormatError, match=r'a\.csv: line 4: the byte 0x80 is not UTF-8; encoding="cp1252" reads'):
        data.read_table(path)


# the target


def test_target(write):
    path = write("a,b,c\n1,2,3\n")
    for target in ("b", 1, -2):
        X, y = data.read_csv(path, target=target)
        assert X.tolist() == [[1, 3]] and y.tolist() == [2]
    X, y = data.read_csv(path, ["c", 0])
    assert X.tolist() == [[2]] and y.tolist() == [[3, 1]] and y.dtype == np.int64
    X, y = data.read_csv(path, ["c"])
    assert y.shape == (1, 1)
    [(X, y)] = data.read(path, target="a", usecols=["b"])
    assert X.tolist() == [[2]] and y.tolist() == [1]
    X, y = data.read_csv(write("k,l,a\nx,u,1\ny,v,2\n"), target=["k", "l"])
    assert y.tolist() == [["x", "u"], ["y", "v"]]
    assert data.read_csv(write("1,2,3\n4,5,6\n"), "1")[1].tolist() == [2, 5]


@pytest.mark.parametrize("name", ["label", "Labels", "TARGET", "class", "y"])
def test_a_name_that_says_it_is_the_target(write, name):
    path = write(f"{name},p0,p1\n5,1,2\n3,1,4\n")
    with pytest.warns(UserWarning, match=rf"a\.csv: the target is taken to be '{name}', .*; target= says otherwise"):
        X, y = data.read_csv(path)
    assert y.tolist() == [5, 3] and X.tolist() == [[1, 2], [1, 4]]
    assert data.read_csv(path, target=-1)[1].tolist() == [2, 4]
    assert data.read_csv(write(f"a,b,{name}\n1,2,3\n"))[1].tolist() == [3]
    with pytest.warns(UserWarning, match="the target is taken to be 'c'"):  # two names say it
        assert data.read_csv(write("label,target,c\n1,2,3\n"))[1].tolist() == [3]


# refusals: file, line, column, cause

REFUSED = {
    "line 3 has 2 fields, the first line 3": "1,2,3\n1,2,3\n1,2\n",
    "line 4 has 4 fields, the first line 3": "a,b,c\n\n1,2,3\n1,2,3,4\n",
    r"line 3, column 2: got 'x', expected a number, as in line 1; missing=\(.* 'x'\) makes .*, text=\[1\]": "1,2,3\n"
    "1,2,3\n1,x,3\n",
    r"line 4, column 1 \('a'\): got '1O', expected a number, as in line 2": "a,y\n10,1\n11,0\n1O,1\n",
    r"line 7, column 1: got '1_0', expected a number": "\n\n1,2,3\n1,2,3\n1,2,3\n1,2,3\n1_0,2,3\n",
    "line 3, column 2: got '٣', expected": "1,2,3\n1,2,3\n1,٣,3\n",
    "line 3, column 2: got '0x1f', expected": "1,2,3\n1,2,3\n1,0x1f,3\n",
    r"line 3, column 1 \('a'\): got '1,5', expected a number, as in line 2; decimal=',' ": "a;y\n1;2\n1,5;3\n2.5;1\n",
    r"line 3, column 2 \('y'\): got 'NA', expected the name of a class; read_table\(\.\.\.\)\.complete\(\['y'\]\) "
    r"leaves out such rows, missing=\(\) keeps it": "a,y\n1,cat\n2,NA\n3,dog\n",
    r"line 2, column 3: got '', expected a finite number; 1 more targets are missing": "1,2,4\n1,2,\n1,2,\n",
    "line 3, column 3: got 'nan', expected a finite number; read_table": "1,2,3\n1,2,4\n1,2,nan\n",
    r"line 3, column 3: got 'x', expected a number, as in line 1": "1,2,3\n1,2,4\n1,2,x\n",
    r"line 3, column 3 \('c'\): got '4', expected the name of a class, as in line 2; text=": "a,b,c\n1,2,x\n1,2,4\n",
    "line 1, column 1: got '1e999', expected a finite": "1e999,2,0\n1,2,0\n",
    "line 1, column 2: got '-inf', expected a finite": "1,-inf,0\n1,2,0\n",
    r"line 3, column 1 \('a'\): got 'Infinity', expected a finite": "a,y\n1,0\nInfinity,0\n",
    "line 1, column 1: got '1.5x', expected a number": "1.5x,2,0\n1,2,0\n3,2,1\n",
    "line 1 has 1 field, line 3 2; header=1 takes the names": "My table\n\na,b\n1,2\n3,4\n",
    "is a web page": "<!DOCTYPE html>\n<html>\n",
    "is JSON": '{"a": 1}\n',
    "line 2: a quote is opened and not closed": 'a,b\n"1,2\n3,4\n',
    "line 2: something follows a closing quote": 'a,b\n"1"x,2\n',
    "has no rows": "a,b,c\n",
    "is empty": "",
    "is not a table of at least two columns: fastreg reads": "hello\n",
    "is not a table of at least two": "1\n2\n3\n",
    "has no known format": b"\x89PNG\r\n\x1a\n\0\0\0",
    "is a workbook of Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "is a Parquet file: read it with pandas.read_parquet": b"PAR1" + b"x" * 99,
    "is damaged": gzip.compress(b"a,b\n1,2\n" * 9)[:-4],
}  # fmt: skip


@pytest.mark.parametrize(("message", "text"), REFUSED.items(), ids=REFUSED)
def test_refused(write, message, text):
    path = write(text, "bad-file")
    with pytest.raises(FileFormatError, match=rf"\A{re.escape(str(path))}: {message}[^\n]*\Z"):
        data.read(path)


REFUSED_OPTIONS = {
    r"target: got 'd', expected the name of one column of \['a', 'b', 'c'\]": {"target": "d"},
    "target: got 3, expected a column from 0 to 2 or a name": {"target": 3},
    "target: got -4, expected a column": {"target": -4},
    r"target: got \[\], expected at least one column": {"target": []},
    r"target: got \['a', 0\], expected different columns": {"target": ["a", 0]},
    r"target: got \['a', 'b', 'c'\], which leaves no column": {"target": ["a", "b", "c"]},
    "target: got 1.5, expected an integer": {"target": 1.5},
    "usecols: got 'd', expected the name": {"usecols": ["d"]},
    "usecols: got no column": {"usecols": []},
    "usecols: got 3, expected a list": {"usecols": 3},
    "has one column alone, with the delimiter ','": {"usecols": ["a"]},
    "has one column alone, with the delimiter ';'": {"delimiter": ";"},
    "text: got 9, expected a column": {"text": [9]},
    "delimiter: got ',;', expected 'auto' or one character": {"delimiter": ",;"},
    "delimiter: got 5, expected": {"delimiter": 5},
    "decimal: got ';', expected '.' or ','": {"decimal": ";"},
    "header: got 'yes', expected 'auto', True": {"header": "yes"},
    r"header: got \['a', 'a'\], expected .* different names": {"header": ["a", "a"]},
    "header: got 2 names, but line 1 has 3 fields": {"header": ["p", "q"]},
    "header: got 5, but the file has 2 rows": {"header": 5},
    r"missing: got \[\], expected fields": {"missing": [[]]},
    "encoding: got 'klingon', expected the name of an encoding": {"encoding": "klingon"},
    "encoding: got 8, expected": {"encoding": 8},
}


@pytest.mark.parametrize(("message", "options"), REFUSED_OPTIONS.items(), ids=REFUSED_OPTIONS)
def test_refused_options(write, message, options):
    path = write("a,b,c\n1,2,x\n")
    with pytest.raises((ValueError, TypeError), match=rf"\A({re.escape(str(path))}: )?{message}[^\n]*\Z"):
        data.read_csv(path, **options)


def test_targets_of_two_kinds(write):
    with pytest.raises(FileFormatError, match="target: 'c' is text and 'a' is numbers, expected targets of one kind"):
        data.read_csv(write("a,b,c\n1,2,x\n"), target=["a", "c"])
    with pytest.raises(FileFormatError, match="target: got the name 'y', but the first line holds numbers, not names"):
        data.read_csv(write("1,2\n3,4\n"), target="y")


def zipped(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def test_zip(write):
    path = write(zipped(("deep/a.csv", "a,y\n1,0\n2,1\n")), "a.zip")
    same(data.read_table(path), ["a", "y"], [(1, 0), (2, 1)])
    assert data.read(path)[0][1].tolist() == [0, 1] and data.is_table(path)
    assert not data.is_table(write(zipped(("a.csv", "a,y\n"), ("b.csv", "a,y\n"))))
    for content in (zipped(("a", "1"), ("b", "2")), zipped(("a.npy", "1"))):
        with pytest.raises(FileFormatError, match=r"is a \.npz file, .*, or a workbook of Excel: save"):
            data.read_table(write(content))
    with pytest.raises(FileFormatError, match=r"a\.csv: is damaged: "):
        data.read_table(write(zipped(("a.csv", "a,y\n" * 99))[:-30]))


@pytest.mark.parametrize(
    ("name", "serves"),
    [
        ("sep", "; here it is delimiter="),
        ("na_values", "; here it is missing="),
        ("delim", "; the nearest is 'delimiter'"),
    ],
)
def test_what_others_call_it(write, name, serves):
    for read in (data.read_table, data.read_csv, data.read):
        with pytest.raises(
            TypeError, match=f"^{name}: got an unknown argument, expected some of (target, )?header, .*{serves}"
        ):
            read(write("a,b\n1,2\n"), **{name: ";"})


def test_is_table(write, tmp_path):
    assert data.is_table(write("a,b\n1,2\n")) and data.is_table(write(gzip.compress(b"a,b\n1,2\n")))
    np.save(tmp_path / "a.npy", np.zeros(2))
    np.savez(tmp_path / "a.npz", np.zeros(2))
    idx = write(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]), "idx")
    packed = write(gzip.compress(idx.read_bytes()), "packed")
    assert not any(map(data.is_table, (tmp_path, tmp_path / "a.npy", tmp_path / "a.npz", idx, packed)))
    with pytest.raises(ValueError, match=r"target: got it for '.*a\.npy', which is not a table in a text file"):
        data.read(tmp_path / "a.npy", target="y")
    with pytest.raises(FileFormatError, match=r"is a \.npy file: fastreg\.data\.read_npy reads it"):
        data.read_table(tmp_path / "a.npy")


# typing errors in many rows, beyond the first block


def test_typing_errors(write, monkeypatch):
    from fastreg.data.tables import read as csvfiles

    monkeypatch.setattr(csvfiles, "BLOCK", 50)
    rows = [f"{i},{i % 3}" for i in range(400)]
    rows[300] = "3OO,0"
    with pytest.raises(
        FileFormatError, match=r"line 302, column 1 \('a'\): got '3OO', expected a number, as in line 2"
    ):
        data.read_table(write("\n".join(["a,y", *rows])))
    assert np.isnan(data.read_table(write("\n".join(["a,y", *rows])), missing=["3OO"])["a"][300])
    for i in range(100, 120):
        rows[i] = f"A{i},0"
    rows[50] = "0050,1"
    with pytest.warns(UserWarning, match=r"column 1 \('a'\) has numbers \(line 2: 0\) and text \(line 102: 'A100'\)"):
        table = data.read_table(write("\n".join(["a,y", *rows])))
    assert table.kinds == ("text", "integer") and table["a"][[0, 50, 100, 300]].tolist() == ["0", "0050", "A100", "3OO"]


def test_lines_are_counted_across_quotes(write, monkeypatch):
    from fastreg.data.tables import read as csvfiles

    monkeypatch.setattr(csvfiles, "BLOCK", 30)
    monkeypatch.setattr(csvfiles, "LEAST_ROWS", 1)
    text = "a,b\n" + '"x\ny",1\n\n' * 20 + "z,2,3\n"
    with pytest.raises(FileFormatError, match="line 62 has 3 fields, the first line 2"):
        data.read_table(write(text))
    table = data.read_table(write(text.removesuffix(",3\n")))
    assert len(table) == 21 and set(table["a"]) == {"x\ny", "z"}


def test_a_header_longer_than_what_is_looked_at_first(write):
    names = [f"{i}".rjust(100, "g") for i in range(3000)]
    path = write(",".join(names) + "\n" + (",".join(["1"] * 1500 + ["0.5"] * 1500) + "\n") * 3)
    table = data.read_table(path)
    assert table.names == tuple(names) and table.kinds == ("integer",) * 1500 + ("number",) * 1500 and len(table) == 3


def test_separators_in_quotes(write):
    rows = [("1\x1f2", 3, 1.5), ("4\n5", 6, 2.0), ("7", 8, 0.5)]
    path = write("a,b,c\n" + "".join(f'"{a}","{b}","{c}"\n' for a, b, c in rows))
    assert data.read_table(path).tolist() == rows


# pandas says the same


def by_pandas(pandas, text, **options):
    frame = pandas.read_csv(io.StringIO(text), na_values=["?"], skipinitialspace=True, **options)
    return data.Table.of(frame.astype({name: object for name in frame if frame[name].dtype.kind not in "if"}))


@pytest.mark.parametrize("seed", range(12))
def test_as_pandas(write, monkeypatch, seed):
    pandas = pytest.importorskip("pandas")
    from fastreg.data.tables import read as csvfiles

    monkeypatch.setattr(csvfiles, "BLOCK", 2000)
    random = np.random.default_rng(seed)
    n = 500
    columns = {
        "whole": random.integers(-1000, 1000, n),
        "large": random.integers(-(2**62), 2**62, n),
        "float": random.normal(size=n) * 10.0 ** random.integers(-20, 20, n),
        "text": random.choice(["rome", "oslo", "a b", 'quo"te', "com,ma", "new\nline", "ünï"], n),
        "holes": np.where(random.random(n) < 0.1, np.nan, random.normal(size=n)),
        "late": np.where(np.arange(n) == 450, "", random.integers(0, 9, n).astype(str)),
        "gaps": random.choice(np.array(["x", "y", None], object), n),
        "day": np.datetime64("2020-01-01") + np.arange(n),
    }
    frame = pandas.DataFrame({name: columns[name] for name in random.permutation(list(columns))})
    sep = ",;\t|"[seed % 4]
    text = frame.to_csv(
        index=False, sep=sep, na_rep=["", "NA", "nan"][seed % 3], decimal=",." [seed % 2] if sep == ";" else ".",
        quoting=1 if seed % 5 == 0 else 0, lineterminator=["\n", "\r\n"][seed % 2],
    )  # fmt: skip
    decimal = "," if sep == ";" and seed % 2 == 0 else "."
    expected = by_pandas(pandas, text, sep=sep, decimal=decimal, engine="python")
    found = data.read_table(write(text))
    assert found.names == expected.names
    for name in found.names:
        mine, theirs = found[name].tolist(), expected[name].tolist()
        if name == "text":  # Windows' ends of lines are plain here
            theirs = [field.replace("\r\n", "\n") for field in theirs]
        assert repr(mine) == repr(theirs), name


FIELDS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["", "NA", "x", "-", "1.5.2", "true", "1e5", ".5", "5.", "+3", "0x10", "1_0", "٣", "--1", "e5", "1 2"]
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=2, max_size=12))
def test_any_fields(tmp_path_factory, rows):
    """Each column is read, or refused with its place. Numbers are those of Python, text is text."""
    path = tmp_path_factory.mktemp("fields") / "a.csv"
    path.write_text("first,second\n" + "".join(f"{a},{b}\n" for a, b in rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = data.read_table(path)
        except FileFormatError as error:
            assert re.search(r"line \d+, column [12] \('(first|second)'\): got '", str(error)), error
            return
    for column, name in enumerate(["first", "second"]):
        fields = [row[column].strip() for row in rows]
        for field, value in zip(fields, table[name].tolist(), strict=True):
            if field in data.MISSING:
                assert value is None or value != value
            elif isinstance(value, str):
                assert value == field
            else:
                assert "_" not in field and field.isascii() and float(field) == float(value)
                assert not isinstance(value, int) or int(field) == value


MARKS = st.text(st.sampled_from('ab1.5,;\t|"\n\r #\0é-'), max_size=60)


@settings(max_examples=150, deadline=None)
@given(MARKS)
def test_any_text(tmp_path_factory, text):
    """Whatever a file holds, it is read, or refused in one line that begins with its path."""
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(text.encode())
    for read in (data.read_table, data.read_csv, data.read):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except FileFormatError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=40), st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\xff\xfe", b"\xfe\xff"])
)
def test_any_bytes(tmp_path_factory, content, start):
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(start + content)
    for read in (data.read_table, data.read_csv, data.read):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except FileFormatError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
