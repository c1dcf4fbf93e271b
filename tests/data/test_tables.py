"""Tables of numbers: headers, labels, and cells that are refused."""

import numpy as np
import pytest
import torch

from pyrogen.data import load


def write(folder, text, encoding="utf-8"):
    path = folder / "own.csv"
    path.write_bytes(text.encode(encoding))
    return path


def everything(splits, column="x"):
    return torch.cat([splits.train[column], splits.validation[column], splits.test[column]])


@pytest.mark.parametrize("label", ["y", "label", " Label "])
def test_a_header_names_the_labels(tmp_path, label):
    lines = [f"{k}.5,{k % 2},{-k}" for k in range(20)]
    splits = load(write(tmp_path, f"a,{label},b\n" + "\n".join(lines) + "\n"))
    assert (splits.event_shape, splits.classes) == ((2,), 2)
    assert splits.train["x"].dtype == torch.float32
    assert splits.train["y"].dtype == torch.int64
    x, y = everything(splits), everything(splits, "y")
    assert torch.equal(x[:, 0] - 0.5, -x[:, 1])
    assert torch.equal(-x[:, 1].long() % 2, y)
    assert splits.test["y"].bincount().tolist() == [2, 2]


def test_without_a_header_all_columns_form_x(tmp_path):
    splits = load(write(tmp_path, "0,1\n2,3\n\n4,5\n"))
    assert splits.classes is None
    assert sorted(everything(splits).tolist()) == [[0, 1], [2, 3], [4, 5]]


def test_spreadsheets_habits_are_read(tmp_path):
    splits = load(write(tmp_path, '"a","y"\r\n"1",0.5\r\n 2 ,1.5\r\n3e0,2\r\n', "utf-8-sig"))
    assert sorted(everything(splits).flatten().tolist()) == [1, 2, 3]
    assert splits.train["y"].dtype == torch.float32
    assert splits.classes is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,cat\n5,6\n", ["line 3, column 'b'", "'cat' is no number"]),
        ("1,2\n3,4\nfive,6\n", ["line 3, column '1'", "'five'"]),
        ("a,b\n1,2\n3,\n5,6\n", ["line 3, column 'b'", "''"]),
        ("1,2\n3,4,5\n6,7\n", ["line 2 has 3 cells, expected 2"]),
        ("a,b,c\n1,2\n3,4\n5,6\n", ["line 2 has 2 cells, expected 3"]),
        (",a\n0,2\n1,3\n2,4\n", ["line 1, column 1 is empty", "index=False"]),
        ("", ["empty"]),
        ("a,b\n", ["empty", "0 rows"]),
        ("y\n1\n2\n3\n", ["no column besides the labels"]),
        ("y,a,label\n1,2,3\n4,5,6\n7,8,9\n", ["expected one column of labels, got 2"]),
        ("1,2\nnan,3\n4,5\n", ["'x'", "1 of 3 rows, first in row 1"]),
        ("1,2\n1e60,3\n4,5\n", ["'x'", "1 of 3 rows, first in row 1"]),
        ("a;b\n1;2\n3;4\n5;6\n", ["line 2", "separated by commas"]),
        ("1,2\n", ["cannot be split"]),
    ],
)
def test_unsuitable_tables_are_refused_in_one_line(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"\S") as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("where", ["é,b\n1,2\n", "a,b\n1,é\n"])
def test_other_encodings_are_refused(tmp_path, where):
    with pytest.raises(ValueError, match=r"own.csv: no text in UTF-8 .*save it as UTF-8"):
        load(write(tmp_path, where, "latin-1"))


def test_numbers_survive_the_way(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.savetxt(tmp_path / "own.csv", x, delimiter=",", fmt="%.9g")
    back = everything(load(tmp_path / "own.csv")).numpy()
    assert np.array_equal(np.unique(back, axis=0), np.unique(x, axis=0))


@pytest.mark.parametrize("header", ["x,y", "X,Y", "y,x", "x,y,z", "# x,y"])
def test_coordinates_form_x_and_are_described(tmp_path, header, caplog):
    columns = header.count(",") + 1
    x = np.random.default_rng(0).normal(size=(20, columns)).astype(np.float32)
    np.savetxt(tmp_path / "own.csv", x, delimiter=",", header=header, comments="", fmt="%.9g")
    splits = load(tmp_path / "own.csv")
    assert set(splits.train) == {"x"}
    assert np.array_equal(np.unique(everything(splits).numpy(), axis=0), np.unique(x, axis=0))
    assert "coordinates" in splits.notes[0]
    assert splits.notes[0] in caplog.text


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a,y", "column 'y' holds the labels"),
        ("a,label", "column 'label' holds the labels"),
        ("a,class", "column 'class' is one of the values of x"),
        ("a,target", "column 'target' is one of the values of x"),
        ("Species,a", "column 'Species' is one of the values of x"),
    ],
)
def test_what_becomes_of_a_column_like_a_label_is_described(tmp_path, header, words):
    splits = load(write(tmp_path, header + "\n" + "".join(f"{k % 2},{k % 3}\n" for k in range(12))))
    assert words in " ".join(splits.notes)


def test_a_plain_table_needs_no_description(tmp_path):
    assert load(write(tmp_path, "a,b\n1,2\n3,5\n5,9\n")).notes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;b\n1;2\n3;4\n5;6\n", ["separated by ';'", "sep=';'"]),
        ("a;b\n1,5;2,5\n3;4\n5;6\n", ["decimal commas", "sep=';', decimal=','"]),
        ('a,b\n"1,5","2,5"\n3,4\n5,6\n', ["decimal commas", "(FILE, decimal=',')"]),
        ("a\tb\n1\t2\n3\t4\n5\t6\n", ["tabs", "sep='\\t'"]),
        ("1|2\n3|4\n5|6\n", ["separated by '|'"]),
        ("1 2\n3 4\n5 6\n", ["spaces", "sep='\\\\s+'"]),
    ],
)
def test_other_separators_are_named_with_what_to_type(tmp_path, text, words):
    with pytest.raises(ValueError, match=r"pandas.read_csv\(FILE, .*\).to_csv\(FILE, index=False\)") as caught:
        load(write(tmp_path, text))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "text",
    [
        "1990,1991,1992\n1.5,2.5,3.5\n2.5,3,4\n2,1,3\n",
        "2010,2005,2000\n1,2,3\n2,3,5\n4,3,2\n",
        "0,1,2\n7,2,9\n8,3,1\n9,4,4\n",
        "0,1\n0.5,2.5\n8.5,3\n9,4.5\n",
        "2020\n1.5\n2.5\n3.5\n",
    ],
)
def test_a_header_of_numbers_is_not_taken_for_data(tmp_path, text):
    with pytest.raises(ValueError, match="looks like a header of numbers; expected names"):
        load(write(tmp_path, text))


@pytest.mark.parametrize("text", ["1,2\n3,5\n7,9\n", "2020\n2021\n2022\n", "0,1\n1,0\n0,1\n", "5,3,1\n2,2,2\n1,0,1\n"])
def test_rows_of_whole_numbers_are_data(tmp_path, text):
    assert len(everything(load(write(tmp_path, text)))) == 3


def test_comments_are_left_out(tmp_path):
    splits = load(write(tmp_path, "# made by hand, in a hurry, today\n1,2\n# between\n3,4\n5,6\n"))
    assert sorted(everything(splits).tolist()) == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(ValueError, match="line 4, column '1': 'x' is no number"):
        load(write(tmp_path, "# first\n1,2\n# between\nx,4\n5,6\n"))


def test_a_first_row_with_a_hole_is_no_header(tmp_path):
    with pytest.raises(ValueError, match="line 1, column '1': 'NA' is no number"):
        load(write(tmp_path, "NA,2.5\n3,4\n5,6\n7,8\n"))


@pytest.mark.parametrize("header", ["value", "größe", '"c 1"'])
@pytest.mark.parametrize("cells", [["1,5", "2,25"], ["-0,123", "12,5"], ["0,05", "3,0"]])
def test_decimal_commas_in_one_column_are_refused_with_the_command_that_mends_them(tmp_path, header, cells):
    path = write(tmp_path, "\n".join([header, *cells * 6]) + "\n")
    with pytest.raises(ValueError, match=r"line 2 has 2 cells, expected 1.*decimal=','"):
        load(path)


@pytest.mark.parametrize("cell", ["2,05", "-3,007", "0,00"])
def test_a_leading_zero_betrays_decimal_commas_without_a_header(tmp_path, cell):
    with pytest.raises(ValueError, match=rf"{cell} may be two numbers or one.*decimal=','"):
        load(write(tmp_path, "\n".join(["1,5", "2,25"] * 6 + [cell]) + "\n"))


@pytest.mark.parametrize("rows", [["1,5", "2,25"], ["-7,3", "8,4"], ["10,20", "30,40"]])
def test_two_columns_of_whole_numbers_are_read_and_said(tmp_path, rows):
    splits = load(write(tmp_path, "\n".join(rows * 6) + "\n"))
    assert splits.event_shape == (2,)
    assert any("two columns" in note and "decimal" in note for note in splits.notes)


@pytest.mark.parametrize("rows", [["1.5,2", "2,25"], ["1,2,3", "4,5,6"], ["a,b", "1,5", "2,7"]])
def test_other_tables_are_read_without_that_note(tmp_path, rows):
    splits = load(write(tmp_path, "\n".join([rows[0], *rows[1:] * 8]) + "\n"))
    assert not any("two columns" in note for note in splits.notes)
