"""The ledger's SQL on a real database: what is read back."""

from __future__ import annotations

from datetime import date

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.watermark import Span, good_spans, islands
from ops_pipeline.recipes.keys import split_dataset_key
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.ops.rows import (
    DAY,
    HOSTILE,
    PARTITIONS,
    PRICES,
    again,
    asked,
    at,
    day,
    deferred,
    empty,
    failed,
    ledgers,
    merged,
    refused,
    stored,
    texts,
    unchanged,
)

AAPL = PARTITIONS[0]


# --- islands --------------------------------------------------------------------------------------------------------------------


def test_islands_are_those_of_the_rule(connection: duckdb.DuckDBPyConnection) -> None:
    repo = OpsRepo(connection)
    wanted = PARTITIONS[:3]

    @settings(max_examples=120)
    @given(rows=ledgers(PARTITIONS, most=12))
    def check(rows: list[DatasetInjestion]) -> None:
        connection.execute("BEGIN")
        try:
            repo.upsert(rows, Stage.BRONZE)
            by_hand = {p: islands(good_spans(r for r in rows if r.partition == p)) for p in wanted}
            assert repo.islands(wanted) == {p: spans for p, spans in by_hand.items() if spans}
            assert repo.islands([]) == {}
        finally:
            connection.execute("ROLLBACK")

    check()


def test_islands_of_datasets_whose_requests_are_one_row_each(connection: duckdb.DuckDBPyConnection) -> None:
    """Such datasets are not grouped by request: the same rule by another query."""
    repo = OpsRepo(connection)

    @settings(max_examples=120)
    @given(rows=ledgers(PARTITIONS, most=14).map(lambda rows: [r for r in rows if r.request_part == 1]))
    def check(rows: list[DatasetInjestion]) -> None:
        connection.execute("BEGIN")
        try:
            repo.upsert(rows, Stage.BRONZE)
            by_hand = {p: islands(good_spans(r for r in rows if r.partition == p)) for p in PARTITIONS}
            assert repo.islands(PARTITIONS) == {p: spans for p, spans in by_hand.items() if spans}
        finally:
            connection.execute("ROLLBACK")

    check()


def test_one_dataset_of_parts_does_not_change_the_others(repo: OpsRepo) -> None:
    whole = stored(ticker="IBM", first=0, last=9)
    pages = [stored(dataset="sample.eod-prices.raw", part=p, data=(5 * p, 5 * p + 4), last=14) for p in (1, 2)]
    torn = [stored("run-2", dataset="sample.eod-prices.raw", first=15, last=20, data=(15, 20))]
    torn.append(failed("run-2", dataset="sample.eod-prices.raw", first=15, last=20, part=2))
    repo.upsert([whole, *pages, *torn], Stage.BRONZE)
    wanted = [pages[0].partition, whole.partition, whole.partition, AAPL]
    assert repo.islands(wanted) == {
        whole.partition: [Span(DAY, day(9), DAY)],
        pages[0].partition: [Span(DAY, day(14), day(5))],
    }


def test_an_answer_with_nothing_but_earlier_days_covers_nothing(repo: OpsRepo) -> None:
    early = stored(first=10, last=19, data=(2, 5))
    parts = [stored("run-2", part=p, first=10, last=19, data=(2, 5)) for p in (1, 2)]
    assert good_spans([early]) == good_spans(parts) == []
    repo.upsert([early], Stage.BRONZE)
    assert repo.islands([AAPL]) == {}
    repo.upsert(parts, Stage.BRONZE)
    assert repo.islands([AAPL]) == {}


def test_the_first_and_the_last_day_of_the_calendar_do_not_reach_into_other_partitions(repo: OpsRepo) -> None:
    rows = [stored(ticker=t) for t in ("A", "B", "C")]
    for row in rows:
        row.requested_from_date = row.bronze_from_date = date.min
        row.requested_to_date = row.bronze_to_date = date.max
    repo.upsert(rows, Stage.BRONZE)
    assert repo.islands(r.partition for r in rows) == {r.partition: [Span(date.min, date.max, date.min)] for r in rows}


def test_a_healed_refusal_and_its_neighbours_make_one_island(repo: OpsRepo) -> None:
    bad = refused(stored("run-1", first=0, last=9, data=(0, 9)))
    rows = [bad, stored("run-2", first=10, last=19, data=(12, 19)), stored("run-3", first=30, last=39, data=(33, 35))]
    repo.upsert(rows, Stage.BRONZE)
    assert repo.islands([AAPL]) == {AAPL: [Span(day(10), day(19), day(12)), Span(day(30), day(35), day(33))]}
    repo.upsert([merged(again(bad, "run-4"))], Stage.BRONZE)
    assert repo.islands([AAPL]) == {AAPL: [Span(DAY, day(19), DAY), Span(day(30), day(35), day(33))]}


# --- reading --------------------------------------------------------------------------------------------------------------------


def test_only_rows_that_exist_are_got(repo: OpsRepo) -> None:
    row = stored()
    repo.upsert([row, stored("run-2")], Stage.BRONZE)
    assert repo.get([row.key, ("run-1", "nothing"), ("'", "'")]) == {row.key: row}
    assert repo.get([]) == {}


def test_what_waits_is_listed_in_the_order_in_which_it_applies(repo: OpsRepo) -> None:
    last, first = stored("run-1", minute=30), stored("run-3", minute=10)
    tie = stored("run-2", minute=10, last=8)
    done, other = merged(stored("run-4")), stored("run-5", ticker="IBM")
    copy = again(refused(stored("run-22", minute=10, last=7)), "run-0")
    repo.upsert([last, first, tie, done, other, copy, failed("run-8"), empty("run-9"), asked("run-10")], Stage.BRONZE)
    assert repo.promotable(Stage.SILVER, [AAPL]) == [tie, copy, first, last]
    assert repo.promotable(Stage.GOLD, [AAPL]) == [done]
    assert repo.promotable(Stage.SILVER, [AAPL, AAPL, other.partition]) == [other, tie, copy, first, last]
    assert repo.promotable(Stage.SILVER, []) == []


def test_what_was_known_at_the_same_time_applies_in_the_order_of_run_and_file(repo: OpsRepo) -> None:
    rows = [stored(f"run-{9 - i % 5}", last=10 + i) for i in range(8)]
    rows += [again(refused(stored(f"run-{9 - i % 5}", last=20 + i)), f"run-{i}") for i in range(8)]
    repo.upsert(rows, Stage.BRONZE)
    assert repo.promotable(Stage.SILVER, [AAPL]) == sorted(rows, key=lambda r: r.order)


def test_a_refused_file_goes_on_waiting(repo: OpsRepo) -> None:
    row = merged(stored())
    repo.upsert([row], Stage.BRONZE)
    assert repo.promotable(Stage.SILVER, [AAPL]) == []
    repo.upsert([refused(row)], Stage.SILVER)
    assert repo.promotable(Stage.SILVER, [AAPL]) == [row]
    assert repo.promotable(Stage.GOLD, [AAPL]) == []


def test_what_the_recipe_in_force_refused_does_not_wait_for_it_again(repo: OpsRepo) -> None:
    fresh, by_this, by_older, other = (
        stored("run-1", minute=10),
        refused(stored("run-2")),
        refused(stored("run-3")),
        stored("run-4", ticker="IBM"),
    )
    by_this.silver_recipe_hash, by_older.silver_recipe_hash = "this", "older"
    repo.upsert([fresh, by_this, by_older, other], Stage.BRONZE)
    waiting = [AAPL, AAPL, other.partition]
    assert {r.run_id for r in repo.promotable(Stage.SILVER, waiting, {AAPL.dataset: "this"})} == {"run-1", "run-3", "run-4"}
    # A dataset that no recipe declares any more: what was refused may be looked at.
    assert {r.run_id for r in repo.promotable(Stage.SILVER, waiting, {})} == {"run-1", "run-2", "run-3", "run-4"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_rows_of_few_and_of_many_runs_are_written_and_got_alike(connection: duckdb.DuckDBPyConnection, runs: list[int]) -> None:
    repo = OpsRepo(connection)
    connection.execute("BEGIN")
    try:
        rows = [stored(f"run-{run}", ticker=f"T{place}") for place, run in enumerate(runs)]
        repo.upsert([stored(f"run-{run}", ticker="another") for run in range(1, 10)], Stage.BRONZE)
        repo.upsert(rows[::2], Stage.BRONZE)
        for row in rows[::2]:
            refused(row)
        repo.upsert(rows, Stage.SILVER)
        assert repo.get([row.key for row in rows]) == {row.key: row for row in rows}
        assert len(repo.asked()) == 0
        assert connection.execute("SELECT count(*) FROM ops.file_ingestions").fetchall() == [(len(rows) + 9,)]
    finally:
        connection.execute("ROLLBACK")


FATES = (
    lambda run, **of: merged(stored(run, **of), unchanged=10),
    lambda run, **of: refused(stored(run, **of)),
    lambda run, **of: refused(unchanged(run, **of)),
    stored,
    unchanged,
    empty,
    lambda run, minute, last: failed(run, last=last),
)


@settings(max_examples=60)
@given(minutes=st.lists(st.integers(0, 3), min_size=1, max_size=8), split=st.integers(0, 3), data=st.data())
def test_promoted_after_and_latest_promoted_agree_with_python(
    minutes: list[int], split: int, data: st.DataObject, shared: OpsRepo
) -> None:
    rows = [data.draw(st.sampled_from(FATES))(f"run-{i}", minute=m, last=9 + i % 3) for i, m in enumerate(minutes)]
    other = merged(stored("run-0", ticker="IBM", minute=99))
    copy = merged(again(stored("run-0", minute=50), "run-copy"))
    shared.connection.execute("BEGIN")
    try:
        shared.upsert([*rows, other, copy], Stage.BRONZE)
        # Only what was merged, or stood in silver already; what was refused waits.
        done = sorted(
            (r for r in rows if r.status in ("promoted", "unchanged") and r.silver_errors is None), key=lambda r: r.order
        )
        border = stored("run-3", minute=split).order
        assert shared.promoted_after(AAPL, border) == [r for r in done if r.order > border]
        expected = {other.partition: other.order} | ({AAPL: done[-1].order} if done else {})
        assert shared.latest_promoted([AAPL, other.partition]) == expected
    finally:
        shared.connection.execute("ROLLBACK")


def test_the_latest_file_is_the_last_one_answered(repo: OpsRepo) -> None:
    rows = [stored("run-1", minute=0), unchanged("run-2", minute=10), empty("run-3", minute=20)]
    later = [asked("run-4", minute=30), failed("run-5"), deferred("run-6"), merged(again(rows[0], "run-7"))]
    for count, expected in ((1, rows[0]), (2, rows[1]), (3, rows[2])):
        repo.upsert(rows[:count], Stage.BRONZE)
        assert repo.latest_files([AAPL]) == {AAPL: expected}
    repo.upsert(later, Stage.BRONZE)
    assert repo.latest_files([AAPL, PARTITIONS[3]]) == {AAPL: rows[2]}
    assert repo.last_answers([AAPL, PARTITIONS[3]]) == {AAPL: at(21)}
    assert repo.latest_files([]) == repo.last_answers([]) == {}


def test_an_unchanged_file_tells_by_which_recipe_its_bytes_were_read(repo: OpsRepo) -> None:
    rows = [merged(stored("run-1", body="x")), unchanged("run-2", body="x", minute=30), unchanged("run-3", body="x", minute=60)]
    repo.upsert([*rows, merged(stored("run-4", ticker="IBM"))], Stage.BRONZE)
    latest = repo.latest_files([AAPL])[AAPL]
    assert (latest.key, latest.silver_recipe_hash) == (rows[2].key, PRICES.recipe_hash)
    assert latest.silver_injest_end_time is None


def test_files_known_at_the_same_time_stand_in_the_order_of_run_and_file(repo: OpsRepo) -> None:
    rows = [stored("run-a"), stored("run-b", last=9), stored("run-b", last=8)]
    repo.upsert(rows, Stage.BRONZE)
    assert repo.latest_files([AAPL])[AAPL] == max(rows, key=lambda r: r.order)


def test_requests_without_answer_are_listed(repo: OpsRepo) -> None:
    owed = [asked("run-1"), asked("run-2")]
    repo.upsert([*owed, stored("run-3"), failed("run-4"), deferred("run-5")], Stage.BRONZE)
    assert repo.asked() == owed


def test_completed_requests_are_those_without_a_bad_part(repo: OpsRepo) -> None:
    good = [stored("run-1", last=1, data=(0, 1)), empty("run-1", last=2), unchanged("run-2", last=3, data=(0, 3))]
    bad = [
        stored("run-1", last=4, data=(0, 1)),
        failed("run-1", last=4, part=2),
        stored("run-1", last=5, data=(0, 1), complete=False),
        refused(stored("run-1", last=6, data=(0, 1))),
        asked("run-1", last=7),
        stored("run-3", last=8, data=(0, 1)),
    ]
    repo.upsert([*good, *bad], Stage.BRONZE)
    assert repo.completed_requests(["run-1", "run-2", "'"]) == {r.request_id for r in good}
    assert repo.completed_requests([]) == set()


def test_file_names_are_known_when_a_row_has_them(repo: OpsRepo) -> None:
    row = stored()
    assert row.bronze_filename is not None
    repo.upsert([row, asked("run-2")], Stage.BRONZE)
    assert repo.known_filenames([row.bronze_filename, row.bronze_filename, "other", *HOSTILE]) == {row.bronze_filename}
    assert repo.known_filenames([]) == set()


# --- hostile values -------------------------------------------------------------------------------------------------------------


def test_values_of_any_spelling_are_values(repo: OpsRepo) -> None:
    rows = [merged(stored(f"run {t}", ticker=t, error=t)) for t in HOSTILE]
    for row, text in zip(rows, HOSTILE, strict=True):
        row.bronze_filename, row.silver_can_promote = text, True
    repo.upsert(rows, Stage.BRONZE)
    partitions = [row.partition for row in rows]
    assert set(repo.islands(partitions)) == set(partitions)
    assert {p: r.key for p, r in repo.latest_files(partitions).items()} == {r.partition: r.key for r in rows}
    assert repo.latest_promoted(partitions) == {r.partition: r.order for r in rows}
    assert {r.key for r in repo.promotable(Stage.GOLD, partitions)} == {r.key for r in rows}
    assert repo.known_filenames(HOSTILE) == set(HOSTILE)
    for row in rows:
        assert repo.islands([row.partition]) == {row.partition: [Span(DAY, day(9), DAY)]}
        assert repo.promoted_after(row.partition, (at(-1), "", "")) == [row]
        assert repo.get([row.key]) == {row.key: row}


@settings(max_examples=50)
@given(ticker=texts, other=texts)
def test_a_partition_never_answers_for_another(ticker: str, other: str, shared: OpsRepo) -> None:
    row = stored(ticker=ticker)
    shared.connection.execute("BEGIN")
    try:
        shared.upsert([row], Stage.BRONZE)
        asked_for = PartitionKey(other, row.dataset_key)
        assert list(shared.islands([asked_for])) == ([row.partition] if other == ticker else [])
        assert shared.islands([PartitionKey(ticker, "sample.eod-prices.raw"), PartitionKey(ticker, "sample.fx-rates")]) == {}
    finally:
        shared.connection.execute("ROLLBACK")


def test_dataset_keys_split_into_their_parts() -> None:
    assert split_dataset_key("fmp.income-statement.annual") == ("fmp", "income-statement", "annual")
    assert split_dataset_key("sample.fx-rates") == ("sample", "fx-rates", "-")
