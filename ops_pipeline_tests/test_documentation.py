"""What the documentation must name: every setting, every ledger column, every table and make target."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops_pipeline.ops.columns import COLUMNS
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.settings import PREFIX, Settings, base_url_variable, plan_variable
from ops_pipeline_tests.lake import good_rows, stage_bodies

ROOT = Path(__file__).parent.parent
# Variables of single sources, and so no fields of the settings.
BASE_URL, PLAN = "`OPS_PIPELINE_SOURCE_<NAME>_BASE_URL`", "`OPS_PIPELINE_SOURCE_<NAME>_PLAN`"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_readme_with_its_default(name: str) -> None:
    row = next((line for line in README.splitlines() if line.startswith(f"| `{PREFIX}{name.upper()}` |")), None)
    assert row is not None, f"README.md does not name {PREFIX}{name.upper()}"
    default = Settings.model_fields[name].default
    assert default is None or f"| `{default}` |" in row


def test_the_address_of_a_source_stands_in_the_readme() -> None:
    assert f"| {BASE_URL} |" in README
    assert f"| {PLAN} |" in README
    assert plan_variable("my-vendor") == PLAN.strip("`").replace("<NAME>", "MY_VENDOR")
    assert base_url_variable("my-vendor") == BASE_URL.strip("`").replace("<NAME>", "MY_VENDOR")


@pytest.mark.parametrize(("page", "key"), [("add-a-vendor", "acme.eod-prices"), ("add-a-dataset", "fred.categories")])
def test_the_recipes_of_the_how_to_pages_are_some(page: str, key: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(source:.*?)```", text, re.DOTALL)
    (tmp_path / "own.yaml").write_text(example, encoding="utf-8")
    assert key in load_catalogue(tmp_path).complete().recipes
    assert text.count(key) > 2


def test_the_vendor_of_the_readme_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(source:\n.*?)```", README, re.DOTALL)
    (tmp_path / "acme.yaml").write_text(example, encoding="utf-8")
    catalogue = load_catalogue(tmp_path)
    assert catalogue.sources["acme"].http is not None
    assert catalogue.recipes["acme.eod-prices"].request is not None


def test_the_dataset_of_the_vendors_page_reads_the_answer_that_stands_there(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "vendors.md").read_text(encoding="utf-8")
    (answer,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "fmp-filed.yaml").write_text(example, encoding="utf-8")
    recipe = load_catalogue(tmp_path, lazily=True).recipe("fmp.income-statement-filed.annual")
    staged = stage_bodies(tmp_path, recipe, [answer.encode()])
    assert staged.profiles[0].unreadable is None
    assert [(row["fiscal_year"], row["item"], row["value"]) for row in good_rows(staged)] == [
        (2024, "leaseincome", 5043700000.0),
        (2024, "otherincome", 227400000.0),
        (2024, "revenues", 5271100000.0),
    ]


def test_every_packaged_vendor_stands_on_the_vendors_page_with_its_key() -> None:
    page = (ROOT / "docs" / "vendors.md").read_text(encoding="utf-8")
    for name, source in load_catalogue().sources.items():
        if source.http is not None:
            (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
            assert source.http.key is None or f"`{source.http.key.env}`" in row


def test_the_readme_names_no_setting_that_does_not_exist() -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", README.replace(BASE_URL, "").replace(PLAN, "")))
    assert named <= {PREFIX + n.upper() for n in Settings.model_fields}


@pytest.mark.parametrize("column", COLUMNS)
def test_every_ledger_column_is_documented(column: str) -> None:
    assert f"`{column}`" in (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    missing = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")
    assert not missing


def test_no_path_of_a_machine_and_no_package_host_is_committed() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text, lock.name
        assert "file:" not in text, lock.name
        assert all("==" in line for line in text.splitlines() if line and not line.startswith("#")), lock.name
