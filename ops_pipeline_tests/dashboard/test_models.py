"""The arithmetic of coverage, freshness, timelines and watermarks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ops_pipeline.dashboard import models
from ops_pipeline.dashboard.views.coverage import verdict
from ops_pipeline.ops.browse import DatasetState
from ops_pipeline.ops.gaps import Gap, GapKind
from ops_pipeline.ops.sessions import RuleSessions
from ops_pipeline.ops.watermark import Span
from ops_pipeline_tests.lake import Lake, body_of, price_recipe

WEEKDAYS, DAILY = RuleSessions("weekdays"), RuleSessions("daily")


def _state(to_date: date | None) -> DatasetState:
    return DatasetState("vendor.prices", 1, 1, 0, date(2024, 1, 1), to_date, None, 1, 1)


@pytest.mark.parametrize(
    ("reached", "verdict", "behind"),
    [
        (date(2024, 3, 8), models.FRESH, 0),
        (date(2024, 3, 7), models.LATE, 1),
        (date(2024, 3, 1), models.LATE, 5),
        (date(2024, 2, 29), models.STALE, 6),
        (None, models.STALE, 0),
    ],
)
def test_freshness_counts_sessions_not_days(reached: date | None, verdict: str, behind: int) -> None:
    found = models.freshness(_state(reached), price_recipe(calendar="weekdays"), WEEKDAYS, date(2024, 3, 10))  # a Sunday
    assert (found.verdict, found.behind) == (verdict, behind)


def test_a_dataset_behind_its_last_date_is_ended_and_one_without_recipe_is_unknown() -> None:
    ended = price_recipe(last_date=date(2024, 3, 8))
    assert models.freshness(_state(date(2024, 3, 8)), ended, DAILY, date(2024, 3, 8)).verdict == models.ENDED
    assert models.freshness(_state(date(2024, 3, 8)), None, None, None).verdict == models.UNKNOWN


def test_coverage_counts_expected_sessions_and_names_gaps_that_hold_one() -> None:
    row = {"dataset": "vendor.prices", "ticker": "AAA", "files": 3, "failed_files": 1, "pending_files": 0, "not_in_plan_files": 1}
    row |= {"from_date": date(2024, 1, 1), "to_date": date(2024, 1, 26), "last_answer": None}
    recipe = price_recipe(first_date=date(2024, 1, 1), calendar="weekdays")
    spans = [
        Span(date(2024, 1, 1), date(2024, 1, 5), date(2024, 1, 2)),
        Span(date(2024, 1, 8), date(2024, 1, 12), date(2024, 1, 8)),  # only a weekend between: no gap
        Span(date(2024, 1, 22), date(2024, 1, 26), date(2024, 1, 22)),
    ]
    cell = models.cell(row, spans, recipe, WEEKDAYS, date(2024, 2, 2))
    assert cell.gaps == [(date(2024, 1, 15), date(2024, 1, 19))]
    assert (cell.sessions, cell.covered) == (25, 15)
    assert cell.share == 0.6
    # The watermark is the end of the first island: all behind the weekend is still to come.
    assert cell.behind == 20
    # A session that no answer has, inside the covered days, is a gap as it is for `ops-pipeline gaps`.
    lacking = Gap(date(2024, 1, 10), date(2024, 1, 10), 1, GapKind.HOLE)
    cell = models.cell(row, spans, recipe, WEEKDAYS, date(2024, 2, 2), [lacking])
    assert cell.gaps == [(date(2024, 1, 10), date(2024, 1, 10)), (date(2024, 1, 15), date(2024, 1, 19))]
    assert cell.covered == 14
    assert not cell.refused, "something came, though a part of it is not in the plan"
    never = models.cell(row | {"from_date": None, "to_date": None, "failed_files": 0}, [], recipe, WEEKDAYS, date(2024, 2, 2))
    assert never.refused
    assert "not in plan" in verdict(never).text


def test_a_timeline_holds_what_the_run_moved_and_nothing_else(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    recipe = price_recipe()
    body = body_of([{"date": "2024-01-02", "close": 1.0, "volume": 2, "adjClose": 1.0}])
    row = lake.put(recipe, body, run_id="fetching")
    lake.to_silver(recipe, "promoting")
    row = lake.row(row)
    assert [s.stage for s in models.timeline([row], "fetching")] == ["bronze"]
    assert [(s.stage, s.label, s.status) for s in models.timeline([row], "promoting")] == [("silver", "AAA vendor.prices", "ok")]
    assert models.timeline([row], "another") == []


def test_the_watermark_moves_with_good_files_alone(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    recipe = price_recipe(first_date=date(2024, 1, 2))
    day = [{"date": f"2024-01-0{n}", "close": 1.0, "volume": 2, "adjClose": 1.0} for n in (2, 3, 4)]
    first = lake.through(recipe, body_of(day[:1]), run_id="r1", from_date=date(2024, 1, 2), to_date=date(2024, 1, 2))
    hole = lake.through(recipe, body_of(day[2:]), run_id="r2", from_date=date(2024, 1, 4), to_date=date(2024, 1, 4))
    closed = lake.through(recipe, body_of(day[1:2]), run_id="r3", from_date=date(2024, 1, 3), to_date=date(2024, 1, 3))
    steps = models.watermark_steps([closed, hole, first], date(2024, 1, 2))
    assert [(s.run_id, s.watermark) for s in steps] == [
        ("r1", date(2024, 1, 2)),
        ("r2", date(2024, 1, 2)),
        ("r3", date(2024, 1, 4)),
    ]
    assert all(s.known_at.tzinfo is not None and s.known_at > datetime(2024, 1, 1, tzinfo=UTC) for s in steps)
