"""The documentation as a site: what `make docs` builds, without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops_pipeline.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_none_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert pages | {f"reference/{name}.html" for name in ("cli", "settings", "recipes", "tables")} <= made
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="((?:https?:)?//[^"]+)"', text)
        assert fetched == [], path.name


def test_the_reference_is_made_from_the_code(site: Path) -> None:
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"{PREFIX}{name.upper()}" in settings
        assert str(field.default) in settings or field.default is None
    tables = (site / "reference" / "tables.html").read_text(encoding="utf-8")
    assert "bronze_payload_hash" in tables
    assert "ops-pipeline restore" in (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert "settles_after_days" in (site / "reference" / "recipes.html").read_text(encoding="utf-8")
