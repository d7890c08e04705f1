"""What the plan of a vendor does not hold: not asked again every night, and not hundreds of times in one run.

Belongs here: taking out of a plan the requests that the vendor would refuse again, and noticing within a run that it refuses a whole
dataset. Does not belong here: which refusals count (`ops.refusals`), and how one is known (`sources.http_errors`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.ops.refusals import MANY_KEYS
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.sources import SourceError
from ops_pipeline.sources.base import PLAN_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.engine.plan import PlannedKey
    from ops_pipeline.ops.refusals import Refusal, Refusals
    from ops_pipeline.sources import Request


def leave_out(items: Sequence[PlannedKey], known: Refusals) -> None:
    """Takes out the requests that the vendor said its plan does not hold; a key that is left without any gets the verdict `not_in_plan`."""
    for item in items:
        whole = known.datasets.get(item.key.dataset)
        mine = known.keys.get(item.key, ())
        refused: dict[str, Refusal] = {}
        for request in item.requests:
            refusal = whole or next((r for r in reversed(mine) if r.covers(request.from_date, request.to_date)), None)
            if refusal is not None:
                refused[request.request_id] = refusal
        if not refused:
            continue
        item.requests = [request for request in item.requests if request.request_id not in refused]
        item.lacking = [(request, day) for request, day in item.lacking if request.request_id not in refused]
        if not item.requests:
            item.verdict = OutcomeKind.NOT_IN_PLAN
            item.reason = _sentence(item.key.dataset if whole else None, max(refused.values(), key=lambda r: r.at))


def _sentence(dataset: str | None, refusal: Refusal) -> str:
    plan = f"the plan {refusal.plan}" if refusal.plan else "the plan"
    what = f"{plan} does not hold {dataset or 'this'}, the vendor said on {refusal.at:%Y-%m-%d}"
    return f"{what}; asked again under another plan, from {refusal.until:%Y-%m-%d}, or by run --force"


class Refused:
    """What one run has learnt about the plans of its sources; used on one event loop."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._in_a_row: dict[str, int] = {}
        self._answered: set[str] = set()
        self._closed: dict[str, SourceError] = {}

    def why_not(self, dataset: str) -> SourceError | None:
        """Why a request of the dataset is not worth sending any more; None where it is."""
        return self._closed.get(dataset)

    def told(self, request: Request, error_kind: str | None) -> None:
        """A request came to its end: with an answer (None), or with an error of this kind."""
        dataset = request.dataset_key
        if error_kind is None:
            self._answered.add(dataset)
        if error_kind not in PLAN_KINDS:
            self._in_a_row.pop(dataset, None)
            return
        refused = self._in_a_row[dataset] = self._in_a_row.get(dataset, 0) + 1
        if error_kind == "plan_dataset" and dataset not in self._answered:
            # Remembered as of the dataset, so that the keys that were not asked are not asked tomorrow either.
            text = f"not sent: {request.source} said that the plan does not hold {dataset}"
            self._closed[dataset] = SourceError(text, kind="plan_dataset")
        elif refused >= MANY_KEYS:
            what = "requests" if request.ticker == NO_TICKER else "tickers"
            text = f"not sent: the plan does not hold {refused} {what} of {dataset} in a row; a later run asks for more of them"
            self._closed[dataset] = SourceError(text, kind="deferred")
