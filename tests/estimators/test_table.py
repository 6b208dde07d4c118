"""CSV files as matrices: the same numbers at prediction as at the fit, and clear refusals."""

import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from kernelgp.estimators.table import Encoding, read_csv

FILE = 'rooms,sea,"price, total"\n3,near,10.5\n,far,\n 5 ,near,2e1\n4,NA,7\n\n'
TARGET = "price, total"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "a.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_numbers_text_and_blanks(file):
    cells = read_csv(file(FILE))
    encoding = Encoding.learn(cells, TARGET)
    expected = [[3, 0, 0, 1], [4, 0, 1, 0], [5, 0, 0, 1], [4, 1, 0, 0]]
    np.testing.assert_array_equal(encoding.encode(cells), expected)
    np.testing.assert_array_equal(encoding.numbers(cells), [10.5, np.nan, 20, 7])
    assert encoding.columns[1].values == ("", "far", "near")


def test_other_files_are_read_by_name_in_any_order(file):
    encoding = Encoding.learn(read_csv(file(FILE)), TARGET)
    other = read_csv(file("sea,more,rooms\nfar,x,1\n,y,\n"))
    np.testing.assert_array_equal(encoding.encode(other), [[1, 0, 1, 0], [4, 1, 0, 0]])


def test_a_byte_order_mark_and_other_line_ends_are_read(file):
    cells = read_csv(file(b"\xef\xbb\xbfa,b\r\n1,2\r\n"))
    assert cells == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"got 0 lines with anything in them; give a header"),
        ("a,b\n", r"got 1 lines"),
        ("a,a\n1,2\n", r"column 2 is called 'a'; name every column"),
        ("a,\n1,2\n", r"column 2 is called ''"),
        ("1,2\n3,4\n", r"a first line with the number 1; name the columns"),
        ("a,b\n1,2\n3\n", r"1 cells in line 3 under 2 names"),
    ],
)
def test_files_that_are_no_tables_are_refused(file, text, message):
    with pytest.raises(ArgumentError, match=message):
        read_csv(file(text))


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,b\n1,2\n", "c", r"target: got 'c'; name one of a, b"),
        ("a\n1\n", "a", r"the only column, 'a'; give inputs besides"),
        ("a,b\n,2\n,3\n", "b", r"a: got a column of blanks; leave it out"),
        ("a,b\ninf,2\n1,3\n", "b", r"a: got an infinite number"),
        (
            "a,b\n" + "".join(f"name{i},1\n" for i in range(60)),
            "b",
            r"a: got text with 60 different values; give numbers, or text of at most 50",
        ),
    ],
)
def test_columns_that_cannot_be_used_are_named(file, text, target, message):
    with pytest.raises(ArgumentError, match=message):
        Encoding.learn(read_csv(file(text)), target)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sea\nnear\n", r"data: got a file without the columns rooms; give the columns of the fit"),
        ("rooms,sea\n1,inland\n", r"sea: got 'inland'; give one of '', 'far', 'near'"),
        ("rooms,sea\nmany,far\n", r"rooms: got 'many'; give finite numbers, as at the fit"),
        ("rooms,sea\ninf,far\n", r"rooms: got 'inf'"),
    ],
)
def test_rows_that_do_not_fit_are_named(file, text, message):
    encoding = Encoding.learn(read_csv(file(FILE)), TARGET)
    with pytest.raises(ArgumentError, match=message):
        encoding.encode(read_csv(file(text)))


def test_targets_that_are_no_numbers_or_classes_are_named(file):
    cells = read_csv(file("a,b\n1,yes\n2,\n"))
    encoding = Encoding.learn(cells, "b")
    with pytest.raises(ArgumentError, match=r"target: got 'yes'; give numbers, or --estimator"):
        encoding.numbers(cells)
    with pytest.raises(ArgumentError, match=r"target: got a blank cell"):
        encoding.labels(cells)
