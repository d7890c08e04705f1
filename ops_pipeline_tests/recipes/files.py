"""Recipe and universe files that tests write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECIPE: dict[str, Any] = {
    "dataset": "profile",
    "domain": "equities",
    "description": "Company profiles.",
    "per_ticker": True,
    "mode": "snapshot",
    "answer": {"format": "json"},
    "columns": [{"name": "symbol", "type": "text", "required": True}, {"name": "price", "type": "double"}],
    "key": ["symbol"],
}
SOURCE: dict[str, Any] = {"name": "acme", "description": "A vendor.", "client": "sample"}


def written(folder: Path, *recipes: dict[str, Any], source: object = "sample", name: str = "mine.yaml") -> Path:
    """A recipe file in the overlay folder; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"source": source, "recipes": recipes}), encoding="utf-8")
    return path


def without(data: dict[str, Any], *keys: str, **changed: Any) -> dict[str, Any]:
    return {k: v for k, v in {**data, **changed}.items() if k not in keys}


PRICES, RATES, PROFILE = "sample.eod-prices", "sample.fx-rates", "sample.profile"

# Each is a ticker somewhere, or looks like something else to some reader of YAML.
ODD = (
    "NO", "ON", "Y", "TRUE", "False", "NULL", "null", "~", "0700", "700", "0x1F", "1_000", "1e5", "1.10", "+5", ".5", "-5", "--", "12:30",
    "2020-01-01", "BRK.B", "BTC/USD", "^GSPC", "../../etc/passwd", "CON", "O'Brien", 'a"b', "a\\b", "# x", "a #b", "a: b", "- a",
    "[a]", "{a}", "*a", "&a", "!a", "%a", "@a", "`a", "a,b", "?", ":", "'", '"', "=", "<<", "a'; DROP TABLE x; --", "Ünïcode",
    "日本", "🦆", "x" * 200,
)  # fmt: skip
