"""Trying a recipe on an answer: what would become of its records, with nothing stored.

Belongs here: one answer through the same staging as a run's. Does not belong here: reading the file (`cli.trial`) and storing anything.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isal import igzip

from ops_pipeline.clock import utc_now
from ops_pipeline.errors import UserError
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.watermark import last_expected
from ops_pipeline.recipes.modes import RequestMode
from ops_pipeline.silver.staging import stage
from ops_pipeline.sources import Request

if TYPE_CHECKING:
    from datetime import date

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.staged import Staged

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a recipe makes of an answer.

    Attributes:
        staged: typed rows, refused records, unknown fields and the answer's profile.
        from_date: first day that was taken; None: any.
        to_date: last day that was taken; None: any.
    """

    staged: Staged
    from_date: date | None
    to_date: date | None

    @property
    def refusal(self) -> str | None:
        """Why the answer would fail as a whole; None when it would be merged."""
        (profile,) = self.staged.profiles
        return profile.refusal(self.staged.recipe.max_reject_share)


def try_answer(
    recipe: Recipe,
    body: bytes,
    ticker: str,
    from_date: date | None = None,
    to_date: date | None = None,
    today: date | None = None,
) -> Trial:
    """Reads an answer as a run would.

    Args:
        recipe: the dataset's recipe.
        body: the answer, or a bronze file, which is compressed.
        ticker: whose answer it is; `-` for a dataset that is asked as a whole.
        from_date: first day that was asked for; None: the recipe's first.
        to_date: last day that was asked for; None: the latest that is settled.
        today: pretend that it is the end of this day.

    Raises:
        UserError: the body is compressed and damaged.
    """
    if body.startswith(_GZIP):
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, ValueError) as e:
            raise UserError(f"the file is compressed and damaged ({e}); give the answer as it came.") from e
    if recipe.mode is RequestMode.WINDOW:
        from_date, to_date = from_date or recipe.first_date, to_date or last_expected(recipe, utc_now(), today)
    request = Request(recipe.domain, recipe.source, recipe.dataset, recipe.discriminator, ticker, from_date, to_date)
    row = DatasetInjestion.open(request, "trial")
    with tempfile.TemporaryDirectory(prefix="ops-pipeline-") as folder:
        path = Path(folder) / f"answer.{recipe.answer.format}.gz"
        path.write_bytes(igzip.compress(body, 2))
        row.bronze_received(filename=path.name, payload_hash="", size=len(body), stored_at=utc_now(), status_code=None)
        return Trial(stage(recipe, [row], {row.key: path}), from_date, to_date)
