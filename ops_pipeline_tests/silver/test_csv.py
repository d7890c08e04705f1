"""CSV answers: plain and unpivoted, as files come from vendors and as they come broken."""

from __future__ import annotations

import csv
import zipfile
from datetime import date
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest

from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline_tests.lake import FX_UNPIVOT, csv_recipe, fx_recipe, good_rows, rejects, stage_bodies

TEXT_COLUMNS = [{"name": "date", "type": "date", "required": True}, {"name": "note", "type": "text"}]


def _notes(**changes: object) -> Recipe:
    return csv_recipe(**{"columns": TEXT_COLUMNS, "max_reject_share": 1} | changes)


def test_each_line_gets_its_verdict(tmp_path: Path) -> None:
    body = (
        b"close,ignored,date,volume\n1.5,x,2020-01-02,\n1,x,2019-12-31,\nabc,x,2020-01-03,\n"
        b"2.5,x,2020-01-02,7\n\n3,x\n4,x,,\n3,x,2020-01-31,1.5\n"
    )
    staged = stage_bodies(tmp_path, csv_recipe(max_reject_share=1), [body], from_date=date(2020, 1, 1), to_date=date(2020, 1, 31))
    profile = staged.profiles[0]
    assert (profile.rows, profile.good, profile.failed, profile.out_of_window, profile.superseded) == (7, 1, 4, 1, 1)
    assert good_rows(staged) == [{"ticker": "T0", "date": date(2020, 1, 2), "close": 2.5, "volume": 7, "adj_close": None}]
    assert rejects(staged) == [
        (3, "abc,x,2020-01-03,", "close: abc is not of type double"),
        (5, "3,x", "the line has 2 cells, the header 4"),
        (6, "4,x,,", "date is missing"),
        (7, "3,x,2020-01-31,1.5", "volume: 1.5 is not of type integer"),
    ]


def test_an_unpivoted_table_counts_its_cells(tmp_path: Path) -> None:
    body = b"Date,USD,JPY, GBP ,\n2020-01-02,1.5,N/A,2,\n2020-01-03,,x,0.8,\n2020-01-04,1\n2019-01-04,N/A,1,1,\n"
    staged = stage_bodies(tmp_path, fx_recipe(max_reject_share=1), [body], from_date=date(2020, 1, 1))
    profile = staged.profiles[0]
    assert (profile.rows, profile.good, profile.failed, profile.out_of_window) == (8, 3, 3, 2)
    assert [(row["currency"], row["rate"]) for row in good_rows(staged)] == [("GBP", 2.0), ("GBP", 0.8), ("USD", 1.5)]
    assert rejects(staged) == [
        (2, "2020-01-03,,x,0.8,", "rate is missing"),
        (2, "2020-01-03,,x,0.8,", "rate: x is not of type double"),
        (3, "2020-01-04,1", "the line has 2 cells, the header 5"),
    ]


def test_an_empty_cell_of_an_unpivoted_table_is_a_record_unless_declared_missing(tmp_path: Path) -> None:
    body = b'Date,USD,JPY\n2020-01-02,,1\n2020-01-03,"",N/A\n'
    for markers, rows in (([], 4), (["N/A"], 3), (["N/A", ""], 1), ([""], 2)):
        made = fx_recipe(answer={"format": "csv", "missing": markers, "unpivot": FX_UNPIVOT}, max_reject_share=1)
        profile = stage_bodies(tmp_path, made, [body]).profiles[0]
        assert (profile.rows, profile.good) == (rows, 1), markers


def test_a_repeated_day_of_an_unpivoted_table_is_superseded_series_by_series(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, fx_recipe(), [b"Date,USD,JPY\n2020-01-02,1,2\n2020-01-02,3,N/A\n"])
    assert [(row["currency"], row["rate"]) for row in good_rows(staged)] == [("JPY", 2.0), ("USD", 3.0)]
    assert (staged.profiles[0].rows, staged.profiles[0].superseded) == (3, 1)


def test_a_series_may_have_any_name(tmp_path: Path) -> None:
    names = [
        "it's",
        "a''b",
        "Robert'); DROP TABLE files;--",
        "é\u2028x",
        "cell",
        "series",
        "pair",
        "c0",
        "Date ",
        "\\",
        "{'x': 1}",
        "NULL",
    ]
    header = ",".join(["Date", *(f'"{n}"' for n in names[:8]), *names[9:]])
    body = f"{header}\n2020-01-02,{','.join(['1'] * 11)}\n".encode()
    staged = stage_bodies(tmp_path, fx_recipe(), [body])
    assert sorted(row["currency"] for row in good_rows(staged)) == sorted(names[:8] + names[9:])


def test_quotes_and_newlines_belong_to_the_cell(tmp_path: Path) -> None:
    cells = ["plain", "a,b", 'say "hi"', "two\nlines", "two\r\nlines", " blank ", "\u2028", "a\x0bb", "\x85", "#x", "\\N", "NULL"]
    lines = [f'2020-01-{n:02d},"{cell}"'.replace('say "hi"', 'say ""hi""') for n, cell in enumerate(cells, start=1)]
    for end in ("\n", "\r\n"):
        staged = stage_bodies(tmp_path, _notes(), [("date,note" + end + end.join(lines)).encode()])
        assert [row["note"] for row in good_rows(staged)] == cells


def test_a_reject_keeps_its_own_lines_whatever_stands_before_it(tmp_path: Path) -> None:
    body = 'date,note\n2020-01-01,"a\nb\r\nc"\n2020-01-02,x\u2028y\x0bz\x85\nbad,"d\ne"\n2020-01-04,ok\nworse,\u2028\n'
    staged = stage_bodies(tmp_path, _notes(), [body.encode()])
    assert [(position, raw) for position, raw, _ in rejects(staged)] == [(3, 'bad,"d\ne"'), (5, "worse,\u2028")]
    assert staged.profiles[0].good == 3


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_byte_order_marks(tmp_path: Path, end: str, mark: str, last: bool) -> None:
    body = mark + "date,note" + end + "2020-01-02,x" + end + end + "2020-01-03,y" + (end if last else "")
    staged = stage_bodies(tmp_path, _notes(), [body.encode()])
    assert [row["note"] for row in good_rows(staged)] == ["x", "y"]
    assert staged.profiles[0].rows == 2


def test_mixed_line_ends(tmp_path: Path) -> None:
    body = b"date,note\r\n2020-01-02,a\n2020-01-03,b\r\n2020-01-04,c\r2020-01-05,d\n"
    assert [row["note"] for row in good_rows(stage_bodies(tmp_path, _notes(), [body]))] == ["a", "b", "c", "d"]


def test_commas_behind_the_last_column_are_no_cells_and_a_line_of_blanks_no_record(tmp_path: Path) -> None:
    body = b"date,note\n2020-01-02,a,\n2020-01-03,b,,\n   \n2020-01-04,c,d\n2020-01-05,e\n  "
    staged = stage_bodies(tmp_path, _notes(), [body])
    assert [row["note"] for row in good_rows(staged)] == ["a", "b", "e"]
    assert rejects(staged) == [(3, "2020-01-04,c,d", "the line has 3 cells, the header 2")]


def test_a_cell_may_be_longer_than_any_reader_s_default(tmp_path: Path) -> None:
    for size in (200_000, 3_000_000):
        staged = stage_bodies(tmp_path, _notes(), [b"date,note\n2020-01-02," + b"x" * size + b"\nbad,y\n"])
        assert [len(row["note"]) for row in good_rows(staged)] == [size]
        assert rejects(staged)[0][:2] == (2, "bad,y")


def test_columns_are_found_by_name_file_by_file(tmp_path: Path) -> None:
    bodies = [
        b"note,date\na,2020-01-02\n",
        b"date,note\n2020-01-02,b\n",
        b"x,date,y\n1,2020-01-02,2\n",
        b'"date"," note "\n2020-01-02,c\n',
    ]
    staged = stage_bodies(tmp_path, _notes(), bodies)
    assert [good_rows(staged, n)[0]["note"] for n in range(4)] == ["a", "b", None, "c"]


def test_a_single_column(tmp_path: Path) -> None:
    made = csv_recipe(columns=[{"name": "id", "type": "text", "required": True}], key=["id"], date_column=None, mode="snapshot")
    staged = stage_bodies(tmp_path, made, [b'id\na\n\nb\n"c d"\n\n', b"id\n"])
    assert [row["id"] for row in good_rows(staged)] == ["a", "b", "c d"]
    assert [p.rows for p in staged.profiles] == [3, 0]


def test_a_header_alone_holds_no_records(tmp_path: Path) -> None:
    staged = stage_bodies(tmp_path, _notes(), [b"date,note\n", b"date,note", b"\xef\xbb\xbfdate,note\r\n\r\n"])
    assert [(p.rows, p.unreadable) for p in staged.profiles] == [(0, None)] * 3


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the answer is empty (0 bytes"),
        (b" \r\n" * 50, "the answer is empty (150 bytes"),
        (b"\n\ndate,note\n2020-01-02,x\n", "no header line"),
        (b",,\n1,2,3\n", "no header line"),
        (b"day,note\n2020-01-02,x\n", "lacks the required column 'date'; it holds day, note"),
        (b"Date,note\n2020-01-02,x\n", "lacks the required column 'date'"),
        (b"date,note,note\n2020-01-02,x,y\n", "names 'note' twice"),
        (b"date,note, note\n2020-01-02,x,y\n", "names 'note' twice"),
        (b'{"error": "limit"}', "lacks the required column 'date'"),
        (b'date,"no\nte"\n2020-01-02,x\n', "not one line of valid CSV"),
        (b'date,"note\n2020-01-02,x\n', "not one line of valid CSV"),
        (b"date,n\x00te\n2020-01-02,x\n", "zero byte"),
        (b"date,n\xffte\n2020-01-02,x\n", "not valid UTF-8 at byte 6"),
        (b"date,note\n2020-01-02,\xff\n", "not valid UTF-8 at byte 21"),
        (b"\xef\xbb\xbfdate,note,\n2020-01-02,x,\xc3\n", "not valid UTF-8 at byte 27"),  # in a column that nobody reads
        (b"date,note\n" + b"2020-01-02,x\n" * 90_000 + b"2020-01-02,\xe2\x82", "not valid UTF-8 at byte 1170021"),
        (b"date," + b"x" * (1 << 20) + b"\n2020-01-02,x\n", "the header is longer than 1048576 bytes"),
        ("date,note\n2020-01-02,x\n".encode("utf-16"), "not valid UTF-8"),
        (b'date,note\n2020-01-02,"x\n', "not valid CSV at line 2"),
        (b'date,note\n2020-01-02,"', "not valid CSV at line 2"),
        (b'date,note\n2020-01-02,x\n2020-01-03,"', "not valid CSV at line 3"),
        (b'date,note\n2020-01-02,a"b,"', "not valid CSV at line 2"),
        (b'date,note\r2020-01-02,x\r2020-01-03,"y\r', "not valid CSV at line 3"),
        (b'date,note\n2020-01-02,"x"y\n', "not valid CSV at line 2"),
        (b"date,note\n2020-01-02,x\n2020-01-0", "ends in the middle of a line"),
        (b"date,note\n2020-01-02", "ends in the middle of a line"),
    ],
)
def test_what_is_no_table_is_unreadable_as_a_whole(tmp_path: Path, body: bytes, sentence: str) -> None:
    staged = stage_bodies(tmp_path, _notes(), [body])
    profile = staged.profiles[0]
    assert profile.unreadable is not None
    assert sentence in profile.unreadable
    assert (profile.rows, profile.good, staged.good.num_rows, staged.rejects.num_rows) == (0, 0, 0, 0)


def test_an_unpivoted_table_needs_its_date_and_a_series(tmp_path: Path) -> None:
    staged = stage_bodies(
        tmp_path, fx_recipe(), [b"Day,USD\n2020-01-02,1\n", b"Date,\n2020-01-02,\n", b"Date,USD,USD\n2020-01-02,1,2\n"]
    )
    sentences = ["the header lacks the required column 'Date'; it holds Day, USD", "the header names no series to unpivot"]
    assert [p.unreadable for p in staged.profiles] == [*sentences, "the header names 'USD' twice"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("companions", [0, 200])
def test_a_quote_that_is_never_closed_hides_no_line_in_any_company(tmp_path: Path, end: str, companions: int) -> None:
    # Reading very many files at once, DuckDB drops such a line and says nothing.
    lines = [
        ["2020-01-02,1,2", '2020-01-03,",4'],
        ["2020-01-02,1,2", '2020-01-03,3,"'],
        ['2020-01-02,"1",2', '2020-01-03,",4', "2020-01-04,5,6"],
        ['2020-01-02,1,"', "2020-01-03,3,4"],
        ['2020-01-02,N/A,a"b', '2020-01-03,a"b,"'],
        ['2020-01-02,1,"\n"', '2020-01-03,"\n","""'],
    ]
    bad = [end.join(["Date,USD,JPY", *those, *tail]) for those in lines for tail in ([], [""])]
    good = end.join(["Date,USD,JPY", "2020-01-02,1,2", '2020-01-03,3,"4"'])
    staged = stage_bodies(tmp_path, fx_recipe(max_reject_share=1), [body.encode() for body in [*bad, *[good] * companions]])
    for profile in staged.profiles[: len(bad)]:
        assert (profile.unreadable or "").startswith("not valid CSV at line ")
    assert [p.good for p in staged.profiles[len(bad) :]] == [4] * companions


def test_a_table_cut_within_a_line_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    body = b"Date,USD,JPY,\n" + b"".join(b"2020-01-%02d,1.5,2.5,\n" % n for n in range(1, 6))
    ends = [
        n for n in range(20, len(body)) if body[:n].rpartition(b"\n")[2].count(b",") in (0, 1) and not body[:n].endswith(b"\n")
    ]
    staged = stage_bodies(tmp_path, fx_recipe(), [body[:end] for end in ends])
    assert {p.unreadable for p in staged.profiles} == {"the answer ends in the middle of a line: it was cut"}


def test_blanks_around_a_quote_are_read_alike_with_and_without_a_reject(tmp_path: Path) -> None:
    body = b'date,note\n2020-01-02, "x"\n2020-01-03,y\n'
    staged = stage_bodies(tmp_path, _notes(), [body, body + b"bad,z\n"])
    assert [[row["note"] for row in good_rows(staged, n)] for n in (0, 1)] == [[' "x"', "y"]] * 2


def test_the_central_bank_s_whole_history(tmp_path: Path) -> None:
    package = find_spec("currency_converter")
    assert package is not None
    with zipfile.ZipFile(Path(str(package.origin)).parent / "eurofxref-hist.zip") as archive:
        body = archive.read("eurofxref-hist.csv")
    header, *lines = csv.reader(StringIO(body.decode()))
    wanted = [
        {"currency": name, "date": date.fromisoformat(line[0]), "rate": float(cell)}
        for line in lines
        for name, cell in zip(header[1:], line[1:], strict=True)
        if name and cell != "N/A"
    ]
    staged = stage_bodies(tmp_path, load_catalogue().recipes["sample.fx-rates"], [body])
    assert good_rows(staged) == sorted(wanted, key=lambda row: (row["currency"], row["date"]))
    assert (staged.profiles[0].rows, staged.profiles[0].failed) == (len(wanted), 0)
