"""What silver has to hold, by applying the stored files one by one in plain Python.

Belongs here: the rule that every batch, retry and concurrent run has to come out as. Does not belong here: SQL, and code of the pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from ops_pipeline.ops.ingestion import DatasetInjestion

Values = tuple[float, int, float]
Lineage = tuple[str, str, datetime]
ANSWERED = ("stored", "unchanged")


@dataclass
class Model:
    """A price table after the files given so far.

    Attributes:
        rows: (ticker, date) -> values and the file that gave them.
        history: every change, in order.
        counts: (run_id, file_id) -> created, updated.
    """

    rows: dict[tuple[str, date], tuple[Values, Lineage]] = field(default_factory=dict)
    history: list[tuple[str, date, Values, Lineage, str]] = field(default_factory=list)
    counts: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


def apply(files: Iterable[DatasetInjestion], bodies: dict[str, bytes]) -> Model:
    """Applies the answered files in the order (end time, run, file)."""
    model = Model()
    answered = [f for f in files if f.bronze_outcome in ANSWERED]
    for file in sorted(answered, key=lambda f: (f.bronze_injest_end_time, f.run_id, f.file_id)):
        assert file.bronze_injest_end_time is not None
        lineage = file.file_id, file.run_id, file.bronze_injest_end_time
        created = updated = 0
        for record in json.loads(bodies[file.bronze_filename or ""]):
            place = file.ticker, date.fromisoformat(record["date"])
            values = float(record["close"]), int(record["volume"]), float(record["adjClose"])
            before = model.rows.get(place)
            if before is not None and before[0] == values:
                continue
            created, updated = (created + 1, updated) if before is None else (created, updated + 1)
            model.rows[place] = values, lineage
            model.history.append((*place, values, lineage, "C" if before is None else "U"))
        model.counts[file.key] = created, updated
    return model
