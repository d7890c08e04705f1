"""Which requests come first under a quota: the newest sessions, then the longest waiting, and nothing starves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.turns import EVERY, Waiting, turns
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline_tests.engine.home import make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, market

FIRST, MONDAY = date(2024, 1, 1), date(2024, 2, 12)
# The longest waiting one's turn is none of the first three.
QUIET = next(FIRST + timedelta(days=k) for k in range(EVERY) if (FIRST + timedelta(days=k)).toordinal() % EVERY == 1)


def at(day: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)


def test_newest_sessions_come_first_then_the_longest_waiting_and_what_asks_for_no_session_behind_them() -> None:
    waiting = [
        Waiting(date(2024, 1, 8), None),
        Waiting(None, None),
        Waiting(date(2024, 1, 9), at(3)),
        Waiting(date(2024, 1, 9), at(1)),
        Waiting(date(2024, 1, 9), None),
    ]
    assert turns(waiting[1:4], QUIET) == [2, 1, 0]
    assert turns([waiting[0], *waiting[2:4]], QUIET) == [2, 1, 0]
    assert sorted(turns(waiting, QUIET)) == [0, 1, 2, 3, 4]
    assert turns(waiting, QUIET)[0] == 4
    assert turns([], QUIET) == []


def test_one_turn_in_five_is_the_longest_waiting_ones_whatever_it_asks_for() -> None:
    hole = Waiting(date(2020, 1, 1), None)
    news = [Waiting(date(2024, 1, 9), at(k)) for k in range(50)]
    places = {turns([*news, hole], FIRST + timedelta(days=k)).index(50) for k in range(EVERY)}
    assert places == set(range(EVERY))


@settings(max_examples=40, deadline=None)
@given(keys=st.integers(1, 30), holes=st.integers(0, 15), quota=st.integers(1, 12))
def test_a_quota_that_runs_out_every_night_starves_nothing(keys: int, holes: int, quota: int) -> None:
    """Every night each key has a new session, and holes lie behind; whether an answer is good makes no difference."""
    tried: dict[int, datetime] = {}
    left = set(range(keys, keys + holes))
    asked_at: dict[int, list[int]] = {key: [0] for key in range(keys)}
    bound = EVERY * ((keys + holes) // quota + 2)
    for night in range(1, 2 * bound):
        names = [*range(keys), *sorted(left)]
        waiting = [Waiting(FIRST + timedelta(days=night if name < keys else -name), tried.get(name)) for name in names]
        for place in turns(waiting, FIRST + timedelta(days=night))[:quota]:
            name = names[place]
            tried[name] = at(night)
            left.discard(name)
            asked_at.setdefault(name, []).append(night)
        assert night < bound or not left
    for nights in (asked_at[key] for key in range(keys)):
        assert max(later - earlier for earlier, later in zip(nights, [*nights[1:], 2 * bound], strict=True)) <= bound


def test_every_ticker_has_its_night_under_a_quota_of_three(tmp_path: Path) -> None:
    room = 0

    async def scarce(request: Request) -> AsyncIterator[Answer]:
        nonlocal room
        if room <= 0:
            raise SourceError("The day's calls are used up.", kind="deferred")
        room -= 1
        if request.ticker == "AAA":
            raise SourceError("HTTP 404", kind="permanent", status_code=404)
        async for answer in market(request):
            yield answer

    tickers = [f"{letter}AA" for letter in "ABCDEFGH"]
    context = make_home(tmp_path, Vendor(scarce), tickers=tickers, recipes=[prices_recipe()], publish="none")
    given_ = {"name": "vendor", "description": "A vendor.", "client": "http", "concurrency": 1, "limits": {"per_day": 3}}
    declaration = SourceDeclaration.model_validate({**given_, "http": {"base_url": "https://vendor.invalid"}})
    context = replace(context, catalogue=Catalogue({"vendor": declaration}, context.catalogue.recipes))
    nights = []
    for night in range(3):
        room = 3
        told = run(context, today=MONDAY + timedelta(days=night))
        nights.append({key.ticker for key, outcome in told.items() if outcome.kind is not OutcomeKind.DEFERRED})
    assert [len(served) for served in nights] == [3, 3, 3]
    # Also the one that fails whenever it is asked keeps nobody from it.
    assert set().union(*nights) == set(tickers)
