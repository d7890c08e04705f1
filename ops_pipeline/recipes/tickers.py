"""Tickers: what may be one.

Belongs here: the check of a ticker's characters. Does not belong here: which tickers are wanted (`universe`).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.models import NO_TICKER

MAX_TICKER_LENGTH = 200

# Dagster joins partition dimensions with a bar, and reads three dots as a range of keys.
_FORBIDDEN = {"|": "holds a bar", "...": "holds three dots"}


@lru_cache(maxsize=65_536)
def check_ticker(ticker: str) -> str:
    """The ticker, or an error that says why it cannot be one.

    Raises:
        UniverseError: for an empty or too long ticker, `-`, a bar, three dots or nothing but dots, blanks at the ends, or characters that
            do not print.
    """
    shown = ticker if len(ticker) <= 40 else ticker[:40] + "..."
    problem = next((why for text, why in _FORBIDDEN.items() if text in ticker), None)
    if not ticker or ticker != ticker.strip():
        problem = "is empty or has blanks at its ends"
    elif ticker == NO_TICKER:
        problem = "stands for `no ticker`"
    elif not ticker.strip("."):
        problem = "is nothing but dots, which name folders"
    elif len(ticker) > MAX_TICKER_LENGTH:
        problem = f"is longer than {MAX_TICKER_LENGTH} characters"
    elif any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in ticker):
        problem = "holds a character that does not print"
    if problem:
        raise UniverseError(f"the ticker {shown!r} {problem}; write the symbol as the vendor does.")
    return ticker
