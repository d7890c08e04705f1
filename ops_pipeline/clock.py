"""What time it is.

Belongs here: the one place that reads the wall clock. Does not belong here: which sessions are settled (`ops.watermark`).
"""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)
