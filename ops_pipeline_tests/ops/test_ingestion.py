from __future__ import annotations

import pytest

from ops_pipeline import __version__
from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.ops.rows import (
    HOSTILE,
    PRICES,
    RATES,
    again,
    asked,
    at,
    built,
    day,
    deferred,
    empty,
    failed,
    merged,
    receive,
    recipe,
    refused,
    request,
    stored,
    unchanged,
)

# --- identity -------------------------------------------------------------------------------------------------------------------


def test_a_row_is_opened_with_the_request_and_nothing_else() -> None:
    of = request("BRK.B", "sample.eod-prices.raw", 3, 7, page="2")
    row = DatasetInjestion.open(of, "run-1", part=2)
    untouched = {name: field.default for name, field in DatasetInjestion.model_fields.items() if not field.is_required()}
    filled = {
        "run_id": "run-1",
        "file_id": of.file_id(2),
        "domain": "equities",
        "source": "sample",
        "dataset": "eod-prices",
        "discriminator": "raw",
        "ticker": "BRK.B",
        "request_id": of.request_id,
        "request_part": 2,
        "requested_from_date": day(3),
        "requested_to_date": day(7),
        "code_version": __version__,
        "bronze_injest_start_time": row.bronze_injest_start_time,
    }
    assert row.model_dump() == {**untouched, **filled}
    assert row.bronze_injest_start_time is not None
    assert row.bronze_injest_start_time.tzinfo is not None
    assert row.status == "asked"


def test_the_same_request_finds_its_own_row_and_every_other_part_and_day_has_one_of_its_own() -> None:
    assert asked("run-1").key == asked("run-1", minute=5).key
    others = [
        asked("run-2"),
        asked(part=2),
        asked(first=1),
        asked(last=8),
        asked(ticker="aapl"),
        asked(page="2"),
        asked(dataset="sample.eod-prices.raw"),
    ]
    assert len({row.key for row in [asked(), *others]}) == 8


@pytest.mark.parametrize("ticker", HOSTILE)
def test_a_ticker_of_any_spelling_names_its_partition(ticker: str) -> None:
    assert asked(ticker=ticker).partition == PartitionKey(ticker, "sample.eod-prices")
    assert asked(ticker=ticker, dataset="sample.eod-prices.raw").partition == PartitionKey(ticker, "sample.eod-prices.raw")


def test_files_apply_in_the_order_of_when_we_knew_and_copies_stand_where_their_file_does() -> None:
    early, late = stored("run-9", minute=0), stored("run-1", minute=1)
    same_time = [stored("run-b", minute=5), stored("run-a", minute=5)]
    assert early.order < late.order < same_time[1].order < same_time[0].order
    copy = again(early, "run-0")
    assert copy.order == early.order
    assert copy.origin == early.key
    assert copy.key == ("run-0", early.file_id)
    with pytest.raises(ValueError, match="never stored"):
        asked().order  # noqa: B018 - the property raises


def test_two_answers_are_the_same_only_with_the_same_bytes_to_the_same_question() -> None:
    one = stored("run-1", body="x")
    assert stored("run-2", body="x", minute=9).payload_identity == one.payload_identity
    for other in (stored(body="y"), stored(body="x", part=2), stored(body="x", last=8), stored(body="x", ticker="IBM")):
        assert other.payload_identity != one.payload_identity


# --- bronze ---------------------------------------------------------------------------------------------------------------------


def test_a_received_body_is_named_and_nothing_is_known_of_what_it_holds() -> None:
    row = asked()
    row.bronze_error = "of an earlier try"
    receive(row, "body", 4)
    assert (row.bronze_outcome, row.bronze_rows, row.bronze_can_promote, row.bronze_error) == ("asked", 0, False, None)
    assert (row.bronze_bytes, row.bronze_status_code, row.bronze_injest_end_time) == (4, 200, at(4))


def test_a_read_body_with_records_waits_for_silver() -> None:
    row = stored(data=(2, 5))
    assert (row.bronze_outcome, row.bronze_rows, row.bronze_can_promote) == ("stored", 4, True)
    assert (row.bronze_from_date, row.bronze_to_date) == (day(2), day(5))
    assert (row.status, row.fully_promoted, row.error) == ("pending", False, None)


def test_records_of_which_none_is_settled_wait_for_silver_too_and_have_no_dates() -> None:
    row = stored(data=None, rows=3)
    assert (row.bronze_outcome, row.bronze_can_promote, row.bronze_from_date, row.bronze_to_date) == ("stored", True, None, None)


def test_an_answer_without_records_is_empty_and_has_nothing_to_promote() -> None:
    row = empty()
    assert (row.bronze_outcome, row.bronze_rows, row.bronze_can_promote, row.status) == ("empty", 0, False, "empty")


def test_an_unchanged_answer_keeps_its_records_and_loses_its_dates() -> None:
    row = unchanged(data=(2, 5))
    assert (row.bronze_outcome, row.bronze_rows, row.bronze_can_promote) == ("unchanged", 4, False)
    assert (row.bronze_from_date, row.bronze_to_date) == (None, None)
    assert (row.status, row.fully_promoted) == ("unchanged", True)


def test_a_failure_keeps_the_body_that_came_with_it_and_takes_everything_else_back() -> None:
    row = stored()
    row.bronze_failed("not JSON")
    assert row.bronze_filename is not None
    assert (row.bronze_outcome, row.bronze_error, row.status, row.error) == ("failed", "not JSON", "failed", "not JSON")
    assert (row.bronze_rows, row.bronze_from_date, row.bronze_to_date) == (0, None, None)
    assert (row.bronze_can_promote, row.request_complete) == (False, False)
    assert row.bronze_status_code == 200
    assert row.bronze_injest_end_time == at(1)


def test_a_failure_without_body_ends_now() -> None:
    row = failed()
    assert row.bronze_filename is None
    assert row.bronze_status_code == 500
    assert row.bronze_injest_end_time is not None
    assert row.bronze_injest_end_time.tzinfo is not None


def test_a_deferred_request_is_no_failure() -> None:
    row = deferred()
    assert (row.bronze_outcome, row.status, row.request_complete) == ("deferred", "deferred", False)
    assert row.error == "the quota of the day is used up"


def test_sending_again_starts_the_clock_again() -> None:
    row = asked(minute=-60)
    row.bronze_started()
    assert row.bronze_injest_start_time is not None
    assert row.bronze_injest_start_time > at(-60)


# --- silver ---------------------------------------------------------------------------------------------------------------------

COUNTS = {"created": 1, "updated": 2, "unchanged": 3, "failed": 1, "superseded": 2, "out_of_window": 1}


def test_silver_counts_come_back_as_they_were_given() -> None:
    row = merged(stored(rows=10), **COUNTS, deleted=4)
    assert row.silver_counts == RowCounts(**COUNTS, deleted=4)
    assert row.silver_counts.total == row.bronze_rows == 10
    assert (row.silver_tablename, row.silver_recipe_hash) == ("silver.sample_eod_prices", PRICES.recipe_hash)
    assert (row.silver_from_date, row.silver_to_date) == (day(0), day(9))
    assert (row.bronze_can_promote, row.silver_can_promote, row.status) == (False, True, "pending")


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("by", [-1, 1])
def test_counts_that_lose_or_double_a_record_are_refused(field: str, by: int) -> None:
    row = stored(rows=10)
    with pytest.raises(ValueError, match="10 records read"):
        merged(row, **{**COUNTS, field: COUNTS[field] + by})
    assert row.bronze_can_promote


def test_deleted_rows_are_silvers_and_not_the_files() -> None:
    assert RowCounts(**COUNTS, deleted=100).total == 10


@pytest.mark.parametrize("count", ["created", "updated", "deleted"])
def test_a_change_makes_the_file_wait_for_gold(count: str) -> None:
    rows = 0 if count == "deleted" else 1
    assert merged(stored(rows=rows, data=None), **{count: 1}).silver_can_promote
    without_gold = merged(stored(rows=rows, data=None), gold=False, **{count: 1})
    assert not without_gold.silver_can_promote


@pytest.mark.parametrize("count", ["unchanged", "failed", "superseded", "out_of_window"])
def test_without_a_change_the_file_is_done(count: str) -> None:
    row = merged(stored(rows=3), **{count: 3})
    assert not row.silver_can_promote
    assert (row.fully_promoted, row.status) == (True, "promoted")


def test_a_refused_file_has_no_counts_and_stays_promotable() -> None:
    row = refused(merged(stored(rows=10), **COUNTS), error="a mended recipe heals this")
    assert (row.silver_counts, row.silver_from_date, row.silver_to_date) == (RowCounts(), None, None)
    assert (row.bronze_can_promote, row.silver_can_promote) == (True, False)
    assert (row.status, row.error) == ("failed", "a mended recipe heals this")


def test_a_file_whose_error_has_no_words_is_failed_all_the_same() -> None:
    row = refused(stored(), error="")
    assert (row.status, row.error, row.fully_promoted) == ("failed", "", False)


def test_a_new_promotion_forgets_the_one_before() -> None:
    row = refused(stored(rows=10))
    row.silver_started(recipe(description="mended"), "run-2", at(30))
    assert (row.silver_errors, row.silver_injest_end_time, row.silver_run_id) == (None, None, "run-2")
    assert row.silver_recipe_hash != PRICES.recipe_hash
    assert row.status == "pending"
    assert merged(row, run="run-2").silver_errors is None


# --- gold -----------------------------------------------------------------------------------------------------------------------


def test_gold_ends_the_files_way() -> None:
    row = built(merged(stored()), run="run-2", created=9, updated=1)
    assert (row.gold_object_type, row.gold_tablename, row.gold_run_id) == ("fact", "gold.fact_eod", "run-2")
    assert (row.gold_rows_created, row.gold_rows_updated, row.gold_rows_failed) == (9, 1, 0)
    assert (row.gold_from_date, row.gold_to_date, row.gold_recipe_hash) == (day(0), day(9), PRICES.recipe_hash)
    assert (row.silver_can_promote, row.fully_promoted, row.status) == (False, True, "promoted")


def test_a_failed_build_leaves_the_file_ready_for_the_next() -> None:
    row = merged(stored())
    row.gold_started(PRICES, "run-1", at(20))
    row.gold_failed("out of memory")
    assert (row.silver_can_promote, row.fully_promoted, row.status, row.error) == (True, False, "failed", "out of memory")
    built(row, created=1)
    assert (row.status, row.error) == ("promoted", None)


def test_merging_again_takes_the_file_back_before_gold() -> None:
    row = built(merged(stored()), created=1)
    row.silver_started(PRICES, "run-2", at(40))
    assert (row.status, row.silver_can_promote) == ("pending", False)
    assert merged(row, run="run-2").silver_can_promote


def test_the_first_thing_that_went_wrong_is_the_error() -> None:
    row = stored()
    row.gold_errors = "third"
    assert row.error == "third"
    row.silver_errors = "second"
    assert row.error == "second"
    row.bronze_error = "first"
    assert row.error == "first"


def test_a_dataset_without_tickers_is_a_partition_of_its_own() -> None:
    assert asked(ticker="-", dataset=RATES.dataset_key).partition == PartitionKey("-", "sample.fx-rates")
