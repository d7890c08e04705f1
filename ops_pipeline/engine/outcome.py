"""What became of a key in a run.

Belongs here: the outcomes and what they rest on. Does not belong here: how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ops_pipeline.engine.repair import chosen
from ops_pipeline.ops.ingestion import Hold
from ops_pipeline.sources.base import PLAN_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.universe import PartitionKey

LAYERS = ("bronze", "silver", "gold")


class OutcomeKind(StrEnum):
    """What can become of a key.

    `unknown`, `suspect` and `vendor_has_none` are no work, as `up_to_date` is, and say what is not known: whether the calendar has a
    session there; whether the vendor has what it did not give lately; that it did not give it in so many answers. `not_in_plan`: the vendor
    said, now or earlier, that the plan does not hold it; no failure, and not asked again every time.
    """

    PROMOTED = "promoted"
    UNCHANGED = "unchanged"
    EMPTY = "empty"
    UP_TO_DATE = "up_to_date"
    UNKNOWN = "unknown"
    SUSPECT = "suspect"
    VENDOR_HAS_NONE = "vendor_has_none"
    NOT_APPLICABLE = "not_applicable"
    NOT_IN_PLAN = "not_in_plan"
    DEFERRED = "deferred"
    FAILED = "failed"


NO_WORK = frozenset(
    {
        OutcomeKind.UP_TO_DATE,
        OutcomeKind.UNKNOWN,
        OutcomeKind.SUSPECT,
        OutcomeKind.VENDOR_HAS_NONE,
        OutcomeKind.NOT_APPLICABLE,
    }
)
"""Outcomes of keys for which nothing was sent and nothing waited."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One key's end in a run.

    Attributes:
        key: the partition.
        kind: what became of it.
        reason: one sentence, for every kind but `promoted`.
        files: the ledger rows that the run fetched or promoted for it, as they are now.
        failed_layer: the first layer that failed; None unless `failed`.
    """

    key: PartitionKey
    kind: OutcomeKind
    reason: str = ""
    files: list[DatasetInjestion] = field(default_factory=list)
    failed_layer: str | None = None

    def advanced(self, layer: str) -> bool:
        """Whether the run changed what the layer holds for this key."""
        match layer:
            case "bronze":
                return any(f.bronze_outcome == "stored" for f in self.files)
            case "silver":
                return any(_changed(f) and not f.silver_errors for f in self.files)
            case _:
                return any(
                    f.gold_injest_end_time is not None and not f.gold_errors and not f.silver_can_promote and _changed(f)
                    for f in self.files
                )


def _changed(file: DatasetInjestion) -> bool:
    return file.silver_rows_created + file.silver_rows_updated + file.silver_rows_deleted > 0


def outcome_of(key: PartitionKey, files: Sequence[DatasetInjestion], layers: frozenset[str]) -> Outcome:
    """The outcome that the key's files of this run add up to."""
    listed = list(files)
    for file in listed:
        layer = (
            "bronze"
            if file.bronze_outcome == "failed" and not file.not_in_plan
            else "silver"
            if file.silver_errors
            else "gold"
            if file.gold_errors
            else None
        )
        if layer:
            return Outcome(key, OutcomeKind.FAILED, file.error or "", listed, layer)
    # Not `not_in_plan`: what was not sent because its dataset was refused is deferred, and counts here as well.
    refused = next((f for f in listed if f.bronze_error_kind in PLAN_KINDS), None)
    if refused is not None:
        return Outcome(key, OutcomeKind.NOT_IN_PLAN, refused.bronze_error or "", listed)
    if any(f.bronze_outcome == "deferred" for f in listed):
        return Outcome(
            key,
            OutcomeKind.DEFERRED,
            next(f.bronze_error or "" for f in listed if f.bronze_outcome == "deferred"),
            listed,
        )
    stored = [f for f in listed if f.bronze_outcome == "stored" or f.silver_injest_end_time]
    if stored and ("silver" not in layers or any(_changed(f) for f in stored)):
        return Outcome(key, OutcomeKind.PROMOTED, "", listed)
    if any(f.silver_hold == Hold.HELD for f in stored):
        return Outcome(
            key, OutcomeKind.UNCHANGED, "the answer restates stored rows: held until the whole history is there", listed
        )
    if stored:
        return Outcome(key, OutcomeKind.UNCHANGED, _why_unchanged(key, stored), listed)
    if any(f.bronze_outcome == "unchanged" for f in listed):
        return Outcome(key, OutcomeKind.UNCHANGED, "the answer is the one already stored", listed)
    if listed:
        return Outcome(key, OutcomeKind.EMPTY, "the source has no rows in the window", listed)
    return Outcome(key, OutcomeKind.UP_TO_DATE, "nothing is left to do")


def _why_unchanged(key: PartitionKey, files: Sequence[DatasetInjestion]) -> str:
    """Why answers with records changed nothing: they are all there, or were refused, or lie outside of what was asked for."""
    records, refused = sum(f.bronze_rows for f in files), sum(f.silver_rows_failed for f in files)
    outside = sum(f.silver_rows_out_of_window for f in files)
    if refused:
        look = f"`ops-pipeline rejects list {chosen(key.dataset, [key.ticker])}` tells why"
        if refused + outside >= records:
            return f"{refused:,} of {records:,} records were refused, and nothing of the answer is in silver: {look}"
        return f"{refused:,} of {records:,} records were refused, and every other row of the answer is already in silver: {look}"
    if records and outside >= records:
        return "every record of the answer lies outside of the days that were asked for, or is not settled yet"
    return "every row of the answer is already in silver"
