"""What silver refused: listed by file, shown as it was sent, and taken in by a mended recipe as if that had been in force all along.

Belongs here: `engine.rejects`, `ops.rejects` and the commands over a real home. Does not belong here: how records are refused (`silver`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops_pipeline.cli.app import app
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.rejects import read_again, retry
from ops_pipeline.errors import UserError
from ops_pipeline.ops.queries import RunFilter, miscounted_tables, unaccounted_files
from ops_pipeline.ops.rejects import RefusedFile, refused_files, refused_records
from ops_pipeline.ops.watermark import Window
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import JANUARY, PRICES, contents, key, ledger, make_home, prices_recipe, rates_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, body, market, prices
from ops_pipeline_tests.lake import PRICE_COLUMNS

TICKERS = ("AAA", "ODD")
STRICT = prices_recipe(max_reject_share=0.0)
# The record that the vendor sends without a price is taken in without one.
MENDED = prices_recipe(
    columns=[c if c["name"] != "close" else {"name": "close", "type": "double", "missing": ["n/a"]} for c in PRICE_COLUMNS]
)


def home(folder: Path, recipe: Recipe, *runs: str) -> Context:
    """A home with one run up to January and one up to February; of ODD each answer has a record that cannot be typed."""
    context = make_home(folder, Vendor(market), tickers=TICKERS, recipes=[recipe, rates_recipe()])
    for run_id, day in zip(runs, ({"today": JANUARY}, {}), strict=False):
        run(context, run_id=run_id, **day)
    return context


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a refused record in each of two files; for reading only."""
    folder = tmp_path_factory.mktemp("made")
    home(folder, prices_recipe(), "run-1", "run-2")
    return folder


def refused(context: Context, **about: Any) -> list[RefusedFile]:
    with context.warehouse.reading() as connection:
        return refused_files(connection, **about)


def assert_sound(context: Context) -> None:
    with context.warehouse.reading() as connection:
        assert miscounted_tables(connection) == unaccounted_files(connection) == []


def silver(context: Context) -> dict[str, list[tuple[str, ...]]]:
    """Without the recipe's hash, which a mended recipe has of its own."""
    return {name: rows for name, rows in contents(context).items() if "history" not in name and "rejected" not in name}


def test_files_with_refused_records_are_found_by_dataset_ticker_and_run(made: Path) -> None:
    context = home(made, prices_recipe())
    both = refused(context)
    assert [(f.ticker, f.run_id, f.refused, f.whole) for f in both] == [("ODD", "run-2", 1, False), ("ODD", "run-1", 1, False)]
    assert both[0].reason == "close: n/a is not of type double"
    assert refused(context, run_id="run-1") == both[1:]
    assert refused(context, wanted=RunFilter(ticker="ODD", dataset=PRICES), limit=1) == both[:1]
    assert refused(context, wanted=RunFilter(ticker="AAA")) == refused(context, run_id="run-3") == []
    with context.warehouse.reading() as connection:
        (record,) = refused_records(connection, both[1])
    assert json.loads(record.text or "")["close"] == "n/a"


def test_a_mended_recipe_takes_them_in_as_if_it_had_been_in_force_all_along(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made, tmp_path / "home")
    never = home(tmp_path / "never", MENDED, "run-1", "run-2")
    mended = home(tmp_path / "home", MENDED)
    chosen = refused(mended, run_id="run-1")
    assert read_again(mended, chosen[0]).refused == 0
    (done,) = retry(mended, chosen)
    assert (done.everything, done.left, done.replayed.swapped) == (True, [], True)
    assert silver(mended) == silver(never)
    assert refused(mended) == []
    later = ledger(mended, "promotion_kind <> 'first'")
    assert {row.promotion_kind for row in later} == {"retry"}
    assert {row.origin_run_id for row in later} == {"run-1", "run-2"}
    assert len(ledger(mended, "ticker = 'ODD' AND silver_rows_failed = 1")) == 2, "what was so then stays in the ledger"
    assert_sound(mended)
    assert mended.open_source(None, {}).requests == []  # type: ignore[arg-type, attr-defined]


def test_a_file_over_the_declared_share_leaves_silver_alone_and_is_merged_in_its_place_later(tmp_path: Path) -> None:
    context = home(tmp_path / "home", STRICT, "run-1")
    (whole,) = refused(context)
    assert (whole.whole, whole.refused, whole.run_id) == (True, None, "run-1")
    assert whole.reason.startswith("1 of 23 records refused, more than the declared share of 0%")
    reading = read_again(context, whole)
    assert (reading.refused, len(reading.first), reading.refusal) == (1, 1, whole.reason)
    (again,) = retry(context, [whole])
    assert [f.key for f in again.left] == [whole.key]
    assert contents(context)["silver.rejected_rows"] == []
    mended = home(tmp_path / "home", prices_recipe())
    (done,) = retry(mended, refused(mended))
    assert (done.everything, [f.refused for f in done.left]) == (False, [1])
    never = home(tmp_path / "never", prices_recipe(), "run-1")
    assert silver(mended) == silver(never)
    (row,) = ledger(mended, "ticker = 'ODD' AND bronze_outcome = 'stored'")
    assert (row.promotion_kind, row.silver_errors, row.silver_rows_failed) == ("first", None, 1)
    assert ledger(mended, "ticker = 'AAA' AND promotion_kind <> 'first'") == [], "nobody else's partition is read again"
    assert_sound(mended)


def test_a_dataset_without_recipe_is_refused_before_anything_is_done(made: Path) -> None:
    context = home(made, prices_recipe())
    gone = replace(context, catalogue=Catalogue(context.catalogue.sources, {}))
    with pytest.raises(UserError, match=r"no recipe declares vendor\.prices any more"):
        retry(gone, refused(context))
    assert ledger(context, "promotion_kind <> 'first'") == []


OWN = """
source: sample
recipes:
  - dataset: eod-prices
    discriminator: closes
    domain: equities
    description: Closing prices.
    per_ticker: true
    mode: window
    first_date: 2013-02-01
    last_date: 2013-03-01
    timezone: America/New_York
    max_reject_share: 1
    answer: {{format: json}}
    columns: [{{name: date, type: date, required: true}}, {{name: close, type: {kind}, required: true}}]
    key: [date]
    date_column: date
"""


def ops(folder: Path, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments, "--home", str(folder)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout


def test_the_commands(tmp_path: Path) -> None:
    def recipe(kind: str) -> None:
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / "own.yaml").write_text(OWN.format(kind=kind))

    def files(*more: str) -> Sequence[Any]:
        return json.loads(ops(tmp_path, "rejects", "list", "--json", *more))["files"]  # type: ignore[no-any-return]

    recipe("integer")
    dataset = ("--dataset", "sample.eod-prices.closes")
    ops(tmp_path, "universe", "add", "AAPL", *dataset)
    ops(tmp_path, "run", *dataset, "--today", "2013-03-01", "--json")
    (one,) = files(*dataset, "--ticker", "AAPL", "--run", "last")
    assert (one["refused"], one["whole"], one["records"]) == (20, False, 20)
    assert files("--ticker", "MSFT") == []
    listed = ops(tmp_path, "rejects")
    assert one["file_id"][:12] in listed
    told = ops(tmp_path, "rejects", "show", one["file_id"][:6], "--limit", "2")
    assert "is not of type integer" in told
    assert '"symbol":"AAPL","date":"2013-03-01"' in told
    ops(tmp_path, "rejects", "retry", status=1)
    recipe("double")
    assert "nothing of it is refused" in ops(tmp_path, "rejects", "show", one["file_id"])
    (done,) = json.loads(ops(tmp_path, "rejects", "retry", *dataset, "--json"))["retried"]
    assert (done["left"], done["replayed"]["replayed_rows"], done["whole_dataset"]) == ([], 20, True)
    assert files() == []
    assert ops(tmp_path, "rejects", "retry") == ""
    with pytest.raises(UserError, match="is anything refused"):
        ops(tmp_path, "rejects", "show", one["file_id"])


def test_a_run_says_what_was_refused_and_where_to_look(tmp_path: Path) -> None:
    garbled = {"2024-01-02", "2024-01-03"}

    async def fetch(request: Request) -> AsyncIterator[Answer]:
        records = [{**record, "close": "n/a"} if record["date"] in garbled else record for record in prices(request)]
        yield Answer(body(records), status_code=200)

    recipe = prices_recipe(max_reject_share=1.0)
    context = make_home(tmp_path, Vendor(fetch), tickers=["AAA"], recipes=[recipe], publish="none")

    def told(first: int, last: int) -> tuple[OutcomeKind, str]:
        days = Window(date(2024, 1, first), date(2024, 1, last))
        (outcome,) = run(context, key(), windows={key(): [days]}).values()
        return outcome.kind, outcome.reason

    look = f"`ops-pipeline rejects list --dataset {PRICES} --ticker AAA` tells why"
    assert told(2, 3) == (OutcomeKind.UNCHANGED, f"2 of 2 records were refused, and nothing of the answer is in silver: {look}")
    assert told(4, 5)[0] is OutcomeKind.PROMOTED
    some = f"1 of 3 records were refused, and every other row of the answer is already in silver: {look}"
    assert told(3, 5) == (OutcomeKind.UNCHANGED, some)
    garbled.clear()
    assert told(2, 5)[0] is OutcomeKind.PROMOTED
    assert told(3, 4) == (OutcomeKind.UNCHANGED, "every row of the answer is already in silver")
