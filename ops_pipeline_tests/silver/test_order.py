"""The ordering rule: whatever the batches, retries, late files and concurrent runs, silver equals applying the files one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver.commit import files_to_stage
from ops_pipeline.silver.staged import Staged
from ops_pipeline_tests.lake import FIRST_KNOWN, Lake
from ops_pipeline_tests.silver.ordering import (
    BAD,
    DATED,
    FIRST,
    KEYS_ONLY,
    LAST,
    SNAPSHOT,
    Record,
    answer,
    apply,
    check,
    refused,
)


@dataclass(frozen=True)
class File:
    """An answer of one of a few contents, so that contents repeat; `known` is when it is stored, in seconds, with ties."""

    ticker: str
    content: int
    known: int


_records = st.lists(
    st.tuples(st.integers(0, 4), st.one_of(st.sampled_from([1.0, 2.0, None]), st.sampled_from([1.0, BAD]))),
    min_size=1,
    max_size=4,
)
_spread = st.tuples(_records, st.sampled_from([0, 0, 4])).map(
    lambda pair: [(key + pair[1] if key else 0, value) for key, value in pair[0]]
)  # some files' days do not overlap others'
_contents = st.lists(_spread, min_size=1, max_size=4)
_files = st.lists(
    st.builds(File, ticker=st.sampled_from(["A", "A", "B"]), content=st.integers(0, 3), known=st.integers(0, 6)),
    min_size=1,
    max_size=7,
)
# What two runs do, in turns: record some files, read what waits (or a part of it), commit what was read.
_steps = st.lists(
    st.tuples(st.sampled_from(["record", "record", "stage", "stage", "commit"]), st.integers(0, 1), st.integers(0, 127)),
    max_size=14,
)


class _History:
    """One example: the files, two runs, and the database after each commit."""

    def __init__(self, lake: Lake, made: Recipe, contents: list[list[Record]], files: list[File]) -> None:
        self.lake, self.made = lake, made
        self.records: dict[tuple[str, str], list[Record]] = {}
        self.runs: tuple[list[Staged], list[Staged]] = ([], [])
        self.waiting = [self._stored(n, file, contents[file.content % len(contents)]) for n, file in enumerate(files)]

    def _stored(self, number: int, file: File, records: list[Record]) -> DatasetInjestion:
        about: dict[str, Any] = {"ticker": file.ticker, "from_date": FIRST, "to_date": LAST} if self.made is DATED else {}
        row = self.lake.stored(
            self.made,
            answer(self.made, records),
            run_id=f"run-{(number * 5) % 7}",  # runs do not sort by the time of their files
            known_at=FIRST_KNOWN + timedelta(seconds=file.known),
            params=(("content", str(file.content)),),
            **about,
        )
        self.records[row.key] = records
        return row

    def do(self, step: str, run: int, number: int) -> None:
        if step == "record":
            for _ in range(1 + number % 3):
                self._record()
        elif step == "stage":
            pending = [row for n, row in enumerate(self.lake.waiting(self.made)) if number >> n & 1]
            if pending:
                with self.lake.warehouse.connection() as connection:
                    rows = files_to_stage(OpsRepo(connection), pending)
                self.runs[run].append(self.lake.stage(self.made, rows))
        elif self.runs[run]:
            self._commit(self.runs[run].pop(0), run)

    def _record(self) -> None:
        if not self.waiting:
            return
        row = self.waiting.pop()
        good = [key for key, value in self.records[row.key] if key and value != BAD]
        days = (FIRST.replace(day=min(good)), FIRST.replace(day=max(good))) if good and self.made is DATED else (None, None)
        row.bronze_finished(len(self.records[row.key]), *days)
        with self.lake.warehouse.connection() as connection:
            before = OpsRepo(connection).latest_files([row.partition]).get(row.partition)
        if before and before.payload_identity == row.payload_identity and before.fully_promoted and before.order < row.order:
            row.bronze_unchanged(before.bronze_rows)
        self.lake.service.record_file_ingestions([row])

    def _commit(self, staged: Staged, run: int) -> None:
        promotion = self.lake.commit(staged, f"promoter-{run}")
        for row in promotion.rows:
            assert bool(row.silver_errors) == refused(self.made, self.records[row.key])
        before = self._picture()
        self.lake.commit(staged, f"promoter-{run}")
        assert before == self._picture()
        self.check()

    def _picture(self) -> dict[str, Any]:
        """All tables; a refused file is refused anew with each commit, and only the times of the attempts may differ."""
        picture: dict[str, Any] = self.lake.picture()
        del picture["ops.silver_tables"]
        attempt = {"silver_injest_start_time": None, "silver_injest_end_time": None}
        picture["ops.file_ingestions"] = [
            row.model_copy(update=attempt if row.silver_errors else {}) for row in self.lake.ledger()
        ]
        return picture

    def finish(self) -> None:
        while self.waiting:
            self._record()
        for run, batches in enumerate(self.runs):
            while batches:
                self._commit(batches.pop(0), run)
        for _ in range(3):
            self.lake.to_silver(self.made)
        self.check()
        assert all(row.silver_errors for row in self.lake.waiting(self.made))

    def check(self) -> None:
        ledger = self.lake.ledger()
        promoted = [
            r for r in ledger if r.bronze_outcome == "unchanged" or (r.bronze_outcome == "stored" and not r.bronze_can_promote)
        ]
        state = apply(self.made, [(row, self.records[row.key]) for row in promoted])
        if any(row.silver_tablename for row in ledger):
            check(self.lake, self.made, state)
        for row in ledger:
            assert row.silver_errors is None or (row.bronze_can_promote and row.silver_counts == RowCounts())
            if row not in promoted:
                assert row.silver_counts == RowCounts()
            elif row.silver_injest_end_time is None:  # unchanged, and never merged again
                assert (state.counts[row.key].created, state.counts[row.key].updated) == (0, 0)
            else:
                assert row.silver_counts == state.counts[row.key]
                assert row.silver_counts.total == row.bronze_rows


def _run(lake: Lake, made: Recipe, contents: list[list[Record]], files: list[File], steps: list[tuple[str, int, int]]) -> None:
    lake.clear()
    history = _History(lake, made, contents, files)
    for step in steps:
        history.do(*step)
    history.finish()


@given(contents=_contents, files=_files, steps=_steps)
@settings(max_examples=20)
def test_dated_files_of_two_tickers(shared_lake: Lake, contents: Any, files: Any, steps: Any) -> None:
    _run(shared_lake, DATED, contents, files, steps)


@given(contents=_contents, files=_files, steps=_steps)
@settings(max_examples=10)
def test_a_snapshot_without_dates(shared_lake: Lake, contents: Any, files: Any, steps: Any) -> None:
    _run(shared_lake, SNAPSHOT, contents, files, steps)


@given(contents=_contents, files=_files, steps=_steps)
@settings(max_examples=6)
def test_a_table_of_keys_alone(shared_lake: Lake, contents: Any, files: Any, steps: Any) -> None:
    _run(shared_lake, KEYS_ONLY, contents, files, steps)


A, B = [(1, 1.0), (2, 1.0)], [(1, 2.0)]


def _kinds(lake: Lake) -> list[str]:
    return [str(row["operation"]) for row in lake.rows(f"SELECT operation FROM {DATED.history_table} ORDER BY known_at, date")]


def test_a_then_b_then_a_again(lake: Lake) -> None:
    files = [File("A", 0, 1), File("A", 1, 2), File("A", 0, 3)]
    _run(lake, DATED, [A, B], files, [])
    assert _kinds(lake) == ["C", "C", "U", "U"]
    assert [row["close"] for row in lake.rows(f"SELECT close FROM {DATED.silver_table} ORDER BY date")] == [1.0, 1.0]


def test_a_late_file_between_a_file_and_its_repetition_moves_the_repetition(lake: Lake) -> None:
    # Recorded last first: A, its unchanged repetition, and only then B that was stored between them.
    files = [File("A", 1, 2), File("A", 0, 3), File("A", 0, 1)]
    _run(lake, DATED, [A, B], files, [("record", 0, 0), ("stage", 0, 127), ("commit", 0, 0), ("record", 0, 0)])
    unchanged = [row for row in lake.ledger() if row.bronze_outcome == "unchanged"]
    assert [row.silver_counts for row in unchanged] == [RowCounts(updated=1, unchanged=1)]
    assert _kinds(lake) == ["C", "C", "U", "U"]


def test_a_late_file_takes_a_key_back_to_the_newest_value_before_it(lake: Lake) -> None:
    # Back to the first value instead, the third file would be counted as unchanged.
    files = [File("A", 2, 3), File("A", 0, 4), File("A", 1, 2), File("A", 0, 1)]
    steps = [("record", 0, 2), ("stage", 0, 127), ("commit", 0, 0), ("record", 0, 0)]
    _run(lake, DATED, [A, B, [(3, 1.0)]], files, steps)
    assert [row.silver_counts for row in sorted(lake.ledger(), key=lambda row: row.order)] == [
        RowCounts(created=2),
        RowCounts(updated=1),
        RowCounts(created=1),
        RowCounts(updated=1, unchanged=1),
    ]


def test_files_of_one_moment_apply_in_the_order_of_run_and_file(lake: Lake) -> None:
    contents: list[list[Record]] = [[(1, float(n))] for n in range(6)]
    files = [File("A", n, 1) for n in range(6)]
    for steps in ([], [("record", 0, 1), ("stage", 0, 127), ("commit", 0, 0)] * 3):
        _run(lake, DATED, contents, files, steps)
        last = max(lake.ledger(), key=lambda row: (row.run_id, row.file_id))
        (row,) = lake.rows(f"SELECT run_id, bronze_file_id FROM {DATED.silver_table}")
        assert (row["run_id"], row["bronze_file_id"]) == last.key


def test_parts_of_one_request_apply_in_the_order_of_their_files(lake: Lake) -> None:
    # One run and one moment: only the file's id is left to tell them apart.
    rows = [
        lake.stored(DATED, answer(DATED, [(1, float(n))]), known_at=FIRST_KNOWN, params=(("part", str(n)),)) for n in range(6)
    ]
    for row in rows:
        lake.record(DATED, [row])
        lake.to_silver(DATED)
    (found,) = lake.rows(f"SELECT bronze_file_id FROM {DATED.silver_table}")
    assert found["bronze_file_id"] == max(row.file_id for row in rows)
