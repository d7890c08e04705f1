from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipeline.recipes.loading import Catalogue, load_catalogue
from ops_pipeline_tests.recipes.files import RECIPE, written


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The packaged datasets and a second one with tickers."""
    folder = tmp_path_factory.mktemp("recipes")
    written(folder, RECIPE)
    return load_catalogue(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "universe.yaml"
