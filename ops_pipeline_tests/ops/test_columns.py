"""The list of columns: the model, the migrations, Arrow, and which stage may write what."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.ops.columns import COLUMNS, PRIMARY_KEY, arrow_schema, sql_types, stage_columns, to_arrow
from ops_pipeline.ops.ingestion import BronzeOutcome, DatasetInjestion, PromotionKind, Stage, Status
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.sql import DATASET_KEY_SQL, FULLY_PROMOTED_SQL, LEDGER, STATUS_SQL
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.rows import NOON, asked, texts

# --- the migrations -------------------------------------------------------------------------------------------------------------


def test_the_migrations_make_the_models_columns_in_its_order(warehouse: Warehouse) -> None:
    with warehouse.reading() as connection:
        made = connection.execute(
            """SELECT column_name, data_type, is_nullable, column_default FROM duckdb_columns()
            WHERE database_name = current_database() AND schema_name = 'ops' AND table_name = 'file_ingestions' ORDER BY column_index"""
        ).fetchall()
        key = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints()"
            " WHERE table_name = 'file_ingestions' AND constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    assert tuple(name for name, *_ in made) == COLUMNS
    # Part numbers and status codes are small.
    assert {name: {"INTEGER": "BIGINT"}.get(kind, kind) for name, kind, *_ in made} == sql_types()
    assert {name for name, _, nullable, _ in made if nullable} == {
        name for name, field in DatasetInjestion.model_fields.items() if not field.is_required() and field.default is None
    }
    assert key == [(list(PRIMARY_KEY),)]


def test_a_row_that_names_only_what_it_must_gets_the_models_defaults(warehouse: Warehouse) -> None:
    row = asked()
    given_columns = [n for n, f in DatasetInjestion.model_fields.items() if f.is_required()] + ["bronze_outcome"]
    with warehouse.transaction() as connection:
        connection.execute(
            f"INSERT INTO {LEDGER} ({', '.join(given_columns)}) VALUES ({', '.join('?' * len(given_columns))})",
            [getattr(row, n) for n in given_columns],
        )
        found = OpsRepo(connection).get([row.key])[row.key]
    bare = {"bronze_injest_start_time": None, "requested_from_date": None, "requested_to_date": None}
    assert found == row.model_copy(update=bare)


# --- Arrow and back -------------------------------------------------------------------------------------------------------------

_SMALL = {"request_part", "bronze_status_code"}
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "VARCHAR": texts,
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BOOLEAN": st.booleans(),
    "DATE": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "TIMESTAMP WITH TIME ZONE": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
}


def _any_row() -> st.SearchStrategy[DatasetInjestion]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in DatasetInjestion.model_fields.items():
        values = st.integers(0, 2**31 - 1) if name in _SMALL else _VALUES[sql_types()[name]]
        if name in ("bronze_outcome", "promotion_kind"):
            values = st.sampled_from(get_args({"bronze_outcome": BronzeOutcome, "promotion_kind": PromotionKind}[name]))
        optional = not field.is_required() and field.default is None
        fields[name] = st.none() | values if optional else values
    return st.builds(DatasetInjestion, **fields)


@settings(max_examples=25)
@given(rows=st.lists(_any_row(), max_size=4))
def test_rows_survive_arrow(rows: list[DatasetInjestion]) -> None:
    table = to_arrow(rows)
    assert table.schema == arrow_schema()
    assert table.column_names == list(COLUMNS)
    assert [DatasetInjestion.from_row(r) for r in table.to_pylist()] == rows


def test_rows_survive_the_database(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        repo = OpsRepo(connection)

        @settings(max_examples=20)
        @given(rows=st.lists(_any_row(), min_size=1, max_size=4, unique_by=lambda r: r.key), stage=st.sampled_from(list(Stage)))
        def check(rows: list[DatasetInjestion], stage: Stage) -> None:
            connection.execute("BEGIN")
            try:
                repo.upsert(rows, stage)
                assert repo.get(r.key for r in rows) == {r.key: r for r in rows}
            finally:
                connection.execute("ROLLBACK")

        check()


def test_an_empty_table_has_the_ledgers_columns() -> None:
    assert to_arrow([]).schema == arrow_schema()
    assert pa.types.is_timestamp(arrow_schema().field("bronze_purged_at").type)


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    row = asked()
    row.bronze_injest_end_time = NOON.astimezone(ZoneInfo("Asia/Kolkata"))
    assert to_arrow([row]).to_pylist()[0]["bronze_injest_end_time"] == NOON
    assert to_arrow([row]).to_pylist()[0]["bronze_injest_end_time"].utcoffset() == timedelta(0)


# --- who writes what ------------------------------------------------------------------------------------------------------------


def test_every_column_but_the_key_belongs_to_a_stage() -> None:
    of = {stage: set(stage_columns(stage)) for stage in Stage}
    assert set().union(*of.values()) == set(COLUMNS) - set(PRIMARY_KEY)
    for stage, columns in of.items():
        assert {c for c in COLUMNS if c.startswith(f"{stage.value}_")} <= columns


def test_only_the_flags_are_written_by_two_stages() -> None:
    shared = {
        pair: set(stage_columns(pair[0])) & set(stage_columns(pair[1])) for pair in product(Stage, Stage) if pair[0] < pair[1]
    }
    # The stage that consumes a file clears the flag that the stage before it set.
    assert shared == {
        (Stage.BRONZE, Stage.SILVER): {"bronze_can_promote"},
        (Stage.BRONZE, Stage.GOLD): set(),
        (Stage.GOLD, Stage.SILVER): {"silver_can_promote"},
    }


def test_silver_and_gold_never_write_what_the_request_was() -> None:
    for stage in (Stage.SILVER, Stage.GOLD):
        assert not {c for c in stage_columns(stage) if c.startswith(("request", "bronze"))} - {"bronze_can_promote"}
        assert {"code_version", "promotion_kind", "origin_run_id", "ticker"}.isdisjoint(stage_columns(stage))


# --- rules that stand in Python and in SQL --------------------------------------------------------------------------------------


def _every_state() -> list[DatasetInjestion]:
    """All combinations of what the two rules look at."""
    template, rows = asked(), []
    kinds, texts = (None, "transient", "plan", "plan_dataset"), (None, "", "x")
    states = product(get_args(BronzeOutcome), kinds, texts, texts, (None, NOON), (False, True), (False, True))
    for number, (outcome, kind, silver_errors, gold_errors, ended, bronze_waits, silver_waits) in enumerate(states):
        rows.append(
            template.model_copy(
                update={
                    "file_id": f"{number:04d}",
                    "bronze_outcome": outcome,
                    "bronze_error_kind": kind,
                    "silver_errors": silver_errors,
                    "gold_errors": gold_errors,
                    "silver_injest_end_time": ended,
                    "bronze_can_promote": bronze_waits,
                    "silver_can_promote": silver_waits,
                }
            )
        )
    return rows


def test_status_and_full_promotion_mean_the_same_in_python_and_in_sql(warehouse: Warehouse) -> None:
    rows = _every_state()
    with warehouse.transaction() as connection:
        OpsRepo(connection).upsert(rows, Stage.BRONZE)
        found = connection.execute(f"SELECT {STATUS_SQL}, {FULLY_PROMOTED_SQL} FROM {LEDGER} ORDER BY file_id").fetchall()
    assert found == [(row.status, row.fully_promoted) for row in rows]
    assert {status for status, _ in found} == set(get_args(Status))


@pytest.mark.parametrize("dataset", ["sample.eod-prices", "sample.eod-prices.raw", "a.b-c.d-e"])
def test_the_dataset_key_is_the_same_in_python_and_in_sql(warehouse: Warehouse, dataset: str) -> None:
    row = asked(dataset=dataset)
    with warehouse.transaction() as connection:
        OpsRepo(connection).ask([row])
        assert connection.execute(f"SELECT {DATASET_KEY_SQL} FROM {LEDGER}").fetchall() == [(dataset,)]
    assert row.dataset_key == dataset
