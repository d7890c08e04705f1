"""Fuzz of staging: no body of any format makes it raise anything but a sentence, and none makes it lose a record in silence.

Belongs here: some hundred bodies in the suite, and as many as FUZZ_CASES says (`make fuzz CASES=100000`). Does not belong here: laws about
values (`test_reading_properties`), damage on disk (`test_damage`).

Bodies are staged many at a time, as a run does, so that what one of them does to the others shows as well.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import closing
from datetime import date
from pathlib import Path
from time import monotonic

import duckdb
import pytest

from ops_pipeline.silver.staged import Staged
from ops_pipeline.silver.staging import stage, staging_connection
from ops_pipeline_tests.lake import Lake, stored_bodies
from ops_pipeline_tests.silver.fuzz import KINDS, Kind, damaged

CASES = int(os.environ.get("FUZZ_CASES", "360"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BATCH = 150 if CASES > 5000 else 30
WINDOWS = ((None, None), (date(2024, 1, 3), date(2024, 1, 9)))


def batch(chance: random.Random, kind: Kind, name: str) -> list[bytes]:
    """Bodies of one kind, a third of them as they were made."""
    bodies = [kind.make(chance) for _ in range(BATCH)]
    return [
        body if chance.random() < 0.33 else damaged(chance, body, bodies[number - 1], name) for number, body in enumerate(bodies)
    ]


def staged(
    folder: Path, kind: Kind, bodies: list[bytes], window: tuple[date | None, date | None], connection: duckdb.DuckDBPyConnection
) -> Staged:
    """The bodies in one batch; where it raises, the one to blame is named."""

    def read(some: list[bytes]) -> Staged:
        files, paths = stored_bodies(folder, kind.recipe, some, from_date=window[0], to_date=window[1])
        return stage(kind.recipe, files, paths, connection=connection)

    try:
        return read(bodies)
    except Exception as e:
        for body in bodies:
            try:
                read([body])
            except Exception as own:
                raise AssertionError(f"staging raised {type(own).__name__} for {body!r}") from own
        raise AssertionError(f"staging raised for these {len(bodies)} bodies together: {bodies!r}") from e


def assert_accounted(found: Staged, kind: Kind, bodies: list[bytes], folder: Path) -> Counter[str]:
    """Every record of every body is a row, a refused record, a repeated key or outside of its window; what cannot be read says why."""
    good = Counter(found.good.column("_file_no").to_pylist())
    refused = Counter(found.rejects.column("file_no").to_pylist())
    assert all(found.rejects.column("reason").to_pylist()), "a record was refused without a reason"
    fates: Counter[str] = Counter()
    for number, (body, profile) in enumerate(zip(bodies, found.profiles, strict=True)):
        if profile.unreadable is not None:
            assert profile.unreadable.strip(), body
            assert str(folder) not in profile.unreadable, body
            assert (profile.rows, good[number], refused[number]) == (0, 0, 0), body
            fates["refused as a whole"] += 1
            continue
        assert profile.rows == profile.good + profile.failed + profile.out_of_window + profile.superseded, body
        assert (good[number], refused[number]) == (profile.good, profile.failed), body
        counted = kind.count(body)
        assert counted is None or counted == profile.rows, f"{counted} records, {profile.rows} read: {body!r}"
        fates["read"] += 1
        fates["records"] += profile.rows
        fates["records refused"] += profile.failed
    return fates


@pytest.mark.parametrize("name", KINDS)
def test_no_answer_breaks_staging_or_loses_a_record(name: str, tmp_path: Path) -> None:
    chance = random.Random(f"{name} {SEED}")
    fates: Counter[str] = Counter()
    cases, number, began = 0, 0, monotonic()
    with closing(staging_connection()) as connection:
        connection.execute("SET threads = 1")  # small files: more of them only wait for each other
        while cases < CASES // len(KINDS):
            kind = KINDS[name][number % len(KINDS[name])]
            bodies = batch(chance, kind, name)
            fates += assert_accounted(staged(tmp_path, kind, bodies, chance.choice(WINDOWS), connection), kind, bodies, tmp_path)
            cases, number = cases + len(bodies), number + 1
            if number % 40 == 0:
                print(f"{name}: {cases} bodies, {monotonic() - began:.0f} s, {dict(fates)}", flush=True)
    print(f"{name}: {cases} bodies, all accounted for: {dict(fates)}")
    assert fates["read"]
    assert fates["refused as a whole"]


@pytest.mark.parametrize("name", KINDS)
def test_what_was_staged_arrives_in_silver(name: str, tmp_path: Path) -> None:
    kind, chance = KINDS[name][0], random.Random(f"silver {name} {SEED}")
    lake = Lake(tmp_path)
    bodies = batch(chance, kind, name)
    rows = [lake.stored(kind.recipe, body, ticker=f"T{number}") for number, body in enumerate(bodies)]
    profiles = lake.record(kind.recipe, rows).profiles
    lake.to_silver(kind.recipe)
    counted = lake.rows(
        """SELECT coalesce(sum(silver_rows_created), 0)::BIGINT AS created, coalesce(sum(silver_rows_failed), 0)::BIGINT AS failed,
            coalesce(sum(bronze_rows), 0)::BIGINT AS records, coalesce(sum(silver_rows_superseded), 0)::BIGINT AS superseded
        FROM ops.file_ingestions WHERE silver_errors IS NULL"""
    )[0]
    whole = [p for p in profiles if p.unreadable is None and p.refusal(1.0) is None]
    assert counted["records"] == sum(p.rows for p in whole) == counted["created"] + counted["failed"] + counted["superseded"]
    assert len(lake.table(kind.recipe.silver_table)) == counted["created"] > 0
    assert len(lake.table("silver.rejected_rows")) == counted["failed"]
