"""The ledger's objects as JSON documents.

Belongs here: the shapes that `--json` promises and that several commands share. Does not belong here: printing (`output`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.queries import RunSummary


def file_document(file: DatasetInjestion) -> dict[str, Any]:
    """A ledger row, every column, with its status and its first error in front."""
    return {"dataset_key": file.dataset_key, "status": file.status, "error": file.error, **dict(file)}


def summary_document(summary: RunSummary) -> dict[str, Any]:
    """A run's figures with those that derive from them."""
    return {
        **asdict(summary),
        "status": summary.status,
        "seconds": round(summary.seconds, 3),
        "failed_files": summary.failed_files,
    }
