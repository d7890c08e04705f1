"""`DatasetInjestion`: one row of the ledger, mirrored column by column.

Belongs here: every change of a row's state, and the translation to and from the database's types. The list of columns is written once, as
this model's fields: the upsert, the Arrow schema and the check of the migrations derive from it. Does not belong here: SQL (`repo`).

`DatasetInjestion` and `*_injest_*` keep the spelling that the owner of the project chose.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from ops_pipeline import __version__
from ops_pipeline.clock import utc_now
from ops_pipeline.recipes.keys import join_dataset_key
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources.base import PLAN_KINDS

if TYPE_CHECKING:
    from ops_pipeline.sources.base import ErrorKind, Request

BronzeOutcome = Literal["asked", "stored", "unchanged", "empty", "failed", "deferred"]
PromotionKind = Literal["first", "replay", "retry", "decision"]
Status = Literal["asked", "failed", "not_in_plan", "deferred", "empty", "unchanged", "pending", "promoted"]


class Stage(StrEnum):
    """The part of a file's life that a write is about; a stage writes only its own columns of a row that exists."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


class Hold(StrEnum):
    """What a file means for the adjustment basis of its partition (`silver.basis`)."""

    HELD = "held"
    RELEASED = "released"
    WHOLE = "whole"


class RowCounts(BaseModel):
    """What became of a file's records: the six figures whose sum is `bronze_rows`, and deleted rows beside them."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    superseded: int = 0
    out_of_window: int = 0
    deleted: int = 0

    @property
    def total(self) -> int:
        """Records accounted for; deleted rows are silver's, not the file's."""
        return self.created + self.updated + self.unchanged + self.failed + self.superseded + self.out_of_window


class DatasetInjestion(BaseModel):
    """The whole life of one vendor file. Dates are calendar days of the data, times are UTC, counts are rows, sizes are bytes."""

    model_config = ConfigDict(extra="forbid")

    run_id: str
    file_id: str
    domain: str
    source: str
    dataset: str
    discriminator: str
    ticker: str
    bronze_from_date: date | None = None
    bronze_to_date: date | None = None
    bronze_filename: str | None = None
    bronze_error: str | None = None
    bronze_rows: int = 0
    bronze_injest_start_time: datetime | None = None
    bronze_injest_end_time: datetime | None = None
    bronze_can_promote: bool = False
    bronze_payload_hash: str | None = None
    silver_from_date: date | None = None
    silver_to_date: date | None = None
    silver_tablename: str | None = None
    silver_errors: str | None = None
    silver_rows_created: int = 0
    silver_rows_updated: int = 0
    silver_rows_failed: int = 0
    silver_injest_start_time: datetime | None = None
    silver_injest_end_time: datetime | None = None
    silver_can_promote: bool = False
    gold_object_type: str | None = None
    gold_tablename: str | None = None
    gold_errors: str | None = None
    gold_from_date: date | None = None
    gold_to_date: date | None = None
    gold_rows_created: int = 0
    gold_rows_updated: int = 0
    gold_rows_failed: int = 0
    gold_injest_start_time: datetime | None = None
    gold_injest_end_time: datetime | None = None
    gold_can_promote: bool = False
    request_id: str
    request_part: int = 1
    request_complete: bool = False
    requested_from_date: date | None = None
    requested_to_date: date | None = None
    bronze_outcome: BronzeOutcome = "asked"
    bronze_status_code: int | None = None
    bronze_bytes: int | None = None
    bronze_redacted: bool = False
    bronze_purged_at: datetime | None = None
    silver_rows_unchanged: int = 0
    silver_rows_superseded: int = 0
    silver_rows_out_of_window: int = 0
    silver_rows_deleted: int = 0
    silver_run_id: str | None = None
    gold_run_id: str | None = None
    silver_recipe_hash: str | None = None
    gold_recipe_hash: str | None = None
    code_version: str
    promotion_kind: PromotionKind = "first"
    origin_run_id: str | None = None
    silver_hold: str | None = None
    bronze_error_kind: str | None = None
    source_plan: str | None = None
    bronze_validators: str | None = None

    # --- identity -------------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, request: Request, run_id: str, *, part: int = 1, plan: str | None = None) -> Self:
        """The row of a request that is about to be sent, under the source's plan."""
        return cls(
            run_id=run_id, file_id=request.file_id(part), domain=request.domain, source=request.source, dataset=request.dataset,
            discriminator=request.discriminator, ticker=request.ticker, request_id=request.request_id, request_part=part,
            requested_from_date=request.from_date, requested_to_date=request.to_date, bronze_injest_start_time=utc_now(),
            code_version=__version__, source_plan=plan,
        )  # fmt: skip

    @classmethod
    def decided(cls, recipe: Recipe, ticker: str, key: tuple[str, str], at: datetime, rows: int, days: tuple[date, date]) -> Self:
        """The row of a decision about rows of silver (`ops.decisions`): no answer, and a place of its own among the partition's files.

        Args:
            recipe: the dataset's recipe.
            ticker: of the partition.
            key: (run_id, file_id) of the decision.
            at: since when it counts.
            rows: how many rows it brings back; hiding brings none.
            days: first and last day of the rows that it is about.
        """
        run_id, file_id = key
        return cls(
            run_id=run_id, file_id=file_id, domain=recipe.domain, source=recipe.source, dataset=recipe.dataset,
            discriminator=recipe.discriminator, ticker=ticker, request_id=file_id, bronze_outcome="stored", bronze_rows=rows,
            bronze_from_date=days[0], bronze_to_date=days[1], bronze_injest_start_time=at, bronze_injest_end_time=at,
            bronze_can_promote=True, code_version=__version__, promotion_kind="decision",
        )  # fmt: skip

    @property
    def is_decision(self) -> bool:
        """Whether it stands for a decision, or for a later promotion of one, and not for a vendor's answer."""
        return self.promotion_kind == "decision" or (self.promotion_kind != "first" and self.bronze_filename is None)

    @property
    def dataset_key(self) -> str:
        """The partition dimension `dataset`."""
        return join_dataset_key(self.source, self.dataset, self.discriminator)

    @property
    def partition(self) -> PartitionKey:
        """The (ticker, dataset key) pair that the file belongs to."""
        return PartitionKey(self.ticker, self.dataset_key)

    @property
    def key(self) -> tuple[str, str]:
        """The primary key."""
        return self.run_id, self.file_id

    @property
    def origin(self) -> tuple[str, str]:
        """(run_id, file_id) of the row that ingested the file: what silver and gold rows point at."""
        return self.origin_run_id or self.run_id, self.file_id

    @property
    def order(self) -> tuple[datetime, str, str]:
        """The order in which files of one partition apply: when we knew, then run and file for ties."""
        if self.bronze_injest_end_time is None:
            raise ValueError(f"file {self.file_id} of run {self.run_id} has no end time: it was never stored")
        return (self.bronze_injest_end_time, *self.origin)

    @property
    def payload_identity(self) -> tuple[str | None, str]:
        """What makes two answers the same: the stored body's hash and the request, part number included."""
        return self.bronze_payload_hash, self.file_id

    # --- bronze ---------------------------------------------------------------------------------------------------------------

    def bronze_started(self) -> None:
        """The request is being sent now."""
        self.bronze_injest_start_time = utc_now()

    def bronze_received(
        self, *, filename: str, payload_hash: str, size: int, stored_at: datetime, status_code: int | None
    ) -> None:
        """The body is on disk; what it holds is not known yet. `stored_at` is when we knew."""
        self.bronze_filename, self.bronze_payload_hash, self.bronze_bytes = filename, payload_hash, size
        self.bronze_injest_end_time, self.bronze_status_code = stored_at, status_code
        self.bronze_error = self.bronze_error_kind = None

    def bronze_not_modified(self, before: Self) -> None:
        """The vendor said that its answer is still the one that `before` names: its file counts as received, now."""
        self.bronze_filename, self.bronze_payload_hash, self.bronze_bytes = (
            before.bronze_filename,
            before.bronze_payload_hash,
            before.bronze_bytes,
        )
        self.bronze_injest_end_time, self.bronze_status_code, self.bronze_error, self.bronze_error_kind = (
            utc_now(),
            304,
            None,
            None,
        )
        self.bronze_redacted, self.bronze_validators = before.bronze_redacted, before.bronze_validators

    def bronze_finished(self, rows: int, from_date: date | None, to_date: date | None) -> None:
        """The body was read as the recipe says: so many records, settled good dates from..to (None: none of them is)."""
        self.bronze_outcome = "stored" if rows else "empty"
        self.bronze_rows, self.bronze_from_date, self.bronze_to_date = rows, from_date, to_date
        self.bronze_can_promote = rows > 0

    def decision_repeated(self) -> None:
        """A replay has come to the place of this decision: it is ready for silver once more."""
        self.bronze_can_promote = True

    def bronze_unchanged(self, rows: int) -> None:
        """The body is the one that the partition's latest file held, and that was fully promoted: it moves nothing."""
        self.bronze_outcome, self.bronze_rows, self.bronze_can_promote = "unchanged", rows, False
        self.bronze_from_date = self.bronze_to_date = None

    def bronze_failed(self, error: str, status_code: int | None = None, *, kind: ErrorKind = "permanent") -> None:
        """No usable body; a body that was kept stays named."""
        self.bronze_outcome, self.bronze_error, self.bronze_can_promote = "failed", error, False
        self.bronze_error_kind = kind
        self.bronze_rows, self.bronze_from_date, self.bronze_to_date = 0, None, None
        self.request_complete = False
        self.bronze_status_code = status_code if status_code is not None else self.bronze_status_code
        self.bronze_injest_end_time = self.bronze_injest_end_time or utc_now()

    def bronze_unanswered(self, reason: str) -> None:
        """The run ended before an answer came.

        It failed when it was asked: when the run died nobody knows, and others may have been answered since.
        """
        self.bronze_injest_end_time = self.bronze_injest_end_time or self.bronze_injest_start_time
        self.bronze_failed(reason, kind="transient")

    def bronze_deferred(self, reason: str, status_code: int | None = None, *, kind: ErrorKind = "deferred") -> None:
        """Not sent, or refused, for want of quota: due again, and not a failure. Kinds of the plan's: not sent, as it would be vain."""
        self.bronze_failed(reason, status_code, kind=kind)
        self.bronze_outcome = "deferred"

    def bronze_vanished(self, at: datetime) -> None:
        """The stored body is found to be gone: its days are asked for again. What silver has of it stays, and so do its counts."""
        self.bronze_purged_at = at
        if self.promotion_kind != "first" or self.bronze_outcome not in ("stored", "unchanged"):
            return
        if self.bronze_outcome == "stored" and (self.silver_injest_end_time is None or self.silver_errors is not None):
            self.bronze_failed("the stored answer is gone from the bronze folder; the next run asks again")
        self.request_complete = False

    # --- silver ---------------------------------------------------------------------------------------------------------------

    def silver_started(self, recipe: Recipe, run_id: str, started: datetime) -> None:
        """A promotion to silver begins: earlier figures of this row's promotion no longer hold."""
        self.silver_tablename, self.silver_recipe_hash, self.silver_run_id = recipe.silver_table, recipe.recipe_hash, run_id
        self.silver_injest_start_time, self.silver_injest_end_time, self.silver_errors = started, None, None
        self._silver_counts(RowCounts())
        self.silver_from_date = self.silver_to_date = self.silver_hold = None
        # Gold of an earlier promotion of this row describes values that may change now.
        self.silver_can_promote = False

    def silver_finished(self, counts: RowCounts, from_date: date | None, to_date: date | None, *, gold: str | None) -> None:
        """Merged. With a gold object and changed rows the file is ready for gold.

        Raises:
            ValueError: when the counts do not add up to `bronze_rows`: then the merge lost or doubled a record and must not commit.
        """
        if counts.total != self.bronze_rows:
            raise ValueError(
                f"file {self.file_id} of run {self.run_id}: {self.bronze_rows} records read, {counts.total} accounted for ({counts!r})"
            )
        self._silver_counts(counts)
        self.silver_from_date, self.silver_to_date, self.silver_injest_end_time = from_date, to_date, utc_now()
        self.bronze_can_promote = False
        self.silver_can_promote = gold is not None and counts.created + counts.updated + counts.deleted > 0

    def silver_failed(self, error: str) -> None:
        """The file failed as a whole and silver is untouched; it stays promotable, so that a mended recipe heals it."""
        self._silver_counts(RowCounts())
        self.silver_from_date = self.silver_to_date = self.silver_hold = None
        self.silver_errors, self.silver_injest_end_time = error, utc_now()
        # A file that was promoted before, and was merged again behind a late one, is not in silver any more either.
        self.bronze_can_promote, self.silver_can_promote = True, False

    def silver_recounted(self, counts: RowCounts) -> None:
        """The counts of a merge turn out to be others than were written.

        Raises:
            ValueError: when they do not add up to `bronze_rows` either.
        """
        if counts.total != self.bronze_rows:
            raise ValueError(f"file {self.file_id}: {self.bronze_rows} records, {counts.total} accounted for ({counts!r})")
        self._silver_counts(counts)

    def _silver_counts(self, counts: RowCounts) -> None:
        self.silver_rows_created, self.silver_rows_updated, self.silver_rows_failed = (
            counts.created,
            counts.updated,
            counts.failed,
        )
        self.silver_rows_unchanged, self.silver_rows_superseded = counts.unchanged, counts.superseded
        self.silver_rows_out_of_window, self.silver_rows_deleted = counts.out_of_window, counts.deleted

    @property
    def silver_counts(self) -> RowCounts:
        """What became of the file's records."""
        return RowCounts(
            created=self.silver_rows_created, updated=self.silver_rows_updated, unchanged=self.silver_rows_unchanged,
            failed=self.silver_rows_failed, superseded=self.silver_rows_superseded,
            out_of_window=self.silver_rows_out_of_window, deleted=self.silver_rows_deleted,
        )  # fmt: skip

    # --- gold -----------------------------------------------------------------------------------------------------------------

    def gold_started(self, recipe: Recipe, run_id: str, started: datetime) -> None:
        """A promotion to gold begins."""
        self.gold_object_type, self.gold_tablename = "fact", recipe.gold_table
        self.gold_recipe_hash, self.gold_run_id = recipe.recipe_hash, run_id
        self.gold_injest_start_time, self.gold_injest_end_time, self.gold_errors = started, None, None
        self.gold_rows_created = self.gold_rows_updated = self.gold_rows_failed = 0
        self.gold_from_date = self.gold_to_date = None

    def gold_finished(self, created: int, updated: int, from_date: date | None, to_date: date | None) -> None:
        """Built: so many gold rows are attributed to this file, over these dates."""
        self.gold_rows_created, self.gold_rows_updated = created, updated
        self.gold_from_date, self.gold_to_date, self.gold_injest_end_time = from_date, to_date, utc_now()
        self.silver_can_promote = False

    def gold_failed(self, error: str) -> None:
        """The build failed and gold is untouched; the file stays ready for gold."""
        self.gold_errors, self.gold_injest_end_time = error, utc_now()

    # --- derived --------------------------------------------------------------------------------------------------------------

    @property
    def fully_promoted(self) -> bool:
        """Nothing is left to do for this file."""
        if self.bronze_outcome == "unchanged":
            return True
        merged = self.silver_injest_end_time is not None and self.silver_errors is None and not self.bronze_can_promote
        return self.bronze_outcome == "stored" and merged and not self.silver_can_promote and self.gold_errors is None

    @property
    def not_in_plan(self) -> bool:
        """Whether the vendor said that the plan does not hold this (the same rule as `sql.NOT_IN_PLAN_SQL`)."""
        return self.bronze_outcome == "failed" and self.bronze_error_kind in PLAN_KINDS

    @property
    def status(self) -> Status:
        """Where the file stands, in one word (the same rule as `sql.STATUS_SQL`)."""
        if self.not_in_plan:
            return "not_in_plan"
        if self.bronze_outcome in ("asked", "deferred", "empty", "unchanged"):
            return self.bronze_outcome
        if self.bronze_outcome == "failed" or self.silver_errors is not None or self.gold_errors is not None:
            return "failed"
        return "promoted" if self.fully_promoted else "pending"

    @property
    def error(self) -> str | None:
        """The first thing that went wrong."""
        return next((e for e in (self.bronze_error, self.silver_errors, self.gold_errors) if e is not None), None)

    # --- translation ----------------------------------------------------------------------------------------------------------

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """The object of a database row, which holds every column: the database checked the types, and nothing is checked again.

        Does what `model_construct` does for a row without gaps and aliases, at a twentieth of its cost: a run reads its rows several
        times. The row becomes the object's own.
        """
        self = cls.__new__(cls)
        for name, value in (
            ("__dict__", row),
            ("__pydantic_fields_set__", _every_field()),
            ("__pydantic_extra__", None),
            ("__pydantic_private__", None),
        ):
            object.__setattr__(self, name, value)
        return self


@cache
def _every_field() -> set[str]:
    """Shared by all objects of rows: they have every field, so that nothing can be added."""
    return set(DatasetInjestion.model_fields)
