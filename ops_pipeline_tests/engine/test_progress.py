"""How far a run is, with a clock of our own."""

from __future__ import annotations

import pytest

from ops_pipeline.engine.outcome import Outcome, OutcomeKind
from ops_pipeline.engine.progress import Progress, duration
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.ops.rows import stored

KEY = PartitionKey("AAPL", "sample.eod-prices")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def promoted(rows: int = 0) -> Outcome:
    return Outcome(KEY, OutcomeKind.PROMOTED, files=[stored(rows=rows)])


def idle() -> Outcome:
    return Outcome(KEY, OutcomeKind.UP_TO_DATE, "nothing is left to do")


def failed() -> Outcome:
    return Outcome(KEY, OutcomeKind.FAILED, "no", failed_layer="bronze")


def test_figures_and_sentence() -> None:
    clock = Clock()
    progress = Progress(1000, clock=clock)
    assert progress.sentence() == "0 of 1,000 keys done"
    assert progress.seconds_left is None
    for outcome in [promoted(2450)] * 98 + [failed()] * 2:
        progress.take(outcome)
    clock.now += 10
    assert (progress.done, progress.failed, progress.rows) == (100, 2, 240_100)
    assert progress.rows_per_second == 24_010
    assert progress.seconds_left == 90
    assert progress.sentence() == "100 of 1,000 keys done, 2 failed, 240,100 rows (24,010 a second), about 90 s left"


def test_keys_without_work_do_not_make_the_rest_look_fast() -> None:
    clock = Clock()
    progress = Progress(1000, clock=clock)
    for _ in range(900):
        progress.take(idle())
    assert progress.seconds_left is None
    assert progress.sentence() == "900 of 1,000 keys done"
    clock.now += 5
    progress.take(promoted(1))
    assert progress.seconds_left == 5 * 99


def test_nothing_to_do_and_no_time_gone() -> None:
    progress = Progress(0, clock=Clock())
    assert progress.seconds_left == 0
    assert progress.rows_per_second == 0
    assert progress.sentence() == "0 of 0 keys done"
    assert progress.news() is None


def test_news_come_at_most_every_few_seconds_and_not_at_the_end() -> None:
    clock = Clock()
    progress = Progress(40, every_seconds=5, clock=clock)
    told = []
    for _ in range(40):
        clock.now += 1
        progress.take(promoted(1))
        news = progress.news()
        if news:
            told.append((clock.now - 1000, news.split(" keys")[0]))
    assert told == [(5.0 * k, f"{5 * k} of 40") for k in range(1, 8)]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (600, "10 min"),
        (5900, "98 min"),
        (6000, "1 h 40 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_a_duration_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said
