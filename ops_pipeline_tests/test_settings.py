from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from ops_pipeline.errors import SettingsError
from ops_pipeline.settings import PREFIX, Settings, load_settings


def test_without_any_variable_everything_is_under_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == Path("data")
    assert settings.database_path == tmp_path / "data" / "ops.duckdb"
    assert settings.bronze_path == tmp_path / "data" / "bronze"
    assert settings.universe_path == tmp_path / "data" / "universe.yaml"
    assert settings.recipes_path == tmp_path / "data" / "recipes"
    assert settings.runs_path == tmp_path / "data" / "runs"
    assert settings.today is None
    assert settings.auto_migrate
    assert list(tmp_path.iterdir()) == []


def test_every_variable_has_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "HOME": ("/d", Path("/d")),
        "DATABASE": ("/x/my.duckdb", Path("/x/my.duckdb")),
        "BRONZE_ROOT": ("/b", Path("/b")),
        "UNIVERSE_FILE": ("/u.yaml", Path("/u.yaml")),
        "TODAY": ("2010-06-30", date(2010, 6, 30)),
        "CONCURRENCY": ("3", 3),
        "BATCH_FILES": ("7", 7),
        "DATABASE_WAIT_SECONDS": ("0.5", 0.5),
        "AUTO_MIGRATE": ("false", False),
        "SCHEDULE_HOUR": ("0", 0),
        "SCHEDULE_TIMEZONE": ("Asia/Tokyo", "Asia/Tokyo"),
        "SENSOR_MINUTES": ("5", 5),
        "RETRY_MINUTES": ("0", 0),
        "KEEP_RUNS_DAYS": ("30", 30),
        "PUBLISH": ("gold", "gold"),
        "PUBLISH_KEEP_MINUTES": ("5", 5),
        "DAGSTER_URL": ("https://dagster.example/", "https://dagster.example"),
        "DASHBOARD_URL": ("http://192.0.2.7:8501", "http://192.0.2.7:8501"),
        "ALERT_URLS": ("json://a json://b", SecretStr("json://a json://b")),
        "HEARTBEAT_URL": ("https://a/b", SecretStr("https://a/b")),
        "LOG_LEVEL": ("DEBUG", "DEBUG"),
    }
    assert {name.lower() for name in given} == set(Settings.model_fields)
    for name, (text, _) in given.items():
        monkeypatch.setenv(PREFIX + name, text)
    assert load_settings().model_dump() == {name.lower(): value for name, (_, value) in given.items()}
    settings = load_settings()
    assert (settings.database_path, settings.bronze_path, settings.universe_path) == (
        Path("/x/my.duckdb"),
        Path("/b"),
        Path("/u.yaml"),
    )
    assert settings.recipes_path == Path("/d/recipes")


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(PREFIX + name.upper(), "")
    assert load_settings() == Settings()


def test_an_option_of_the_command_line_wins_and_none_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_PIPELINE_CONCURRENCY", "3")
    assert load_settings(concurrency=None, today=None).concurrency == 3
    assert load_settings(concurrency="5", home="/e") == Settings(concurrency=5, home=Path("/e"))


def test_settings_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().concurrency = 5  # type: ignore[misc]


WRONG = [
    ("TODAY", "yesterday", "YYYY-MM-DD"),
    ("TODAY", "20100630", "YYYY-MM-DD"),
    ("TODAY", "0", "YYYY-MM-DD"),
    ("TODAY", "2010-06-30T00:00:00", "YYYY-MM-DD"),
    ("TODAY", "2010-02-30", "day value is outside"),
    ("CONCURRENCY", "many", "integer"),
    ("CONCURRENCY", "0", "greater than or equal to 1"),
    ("CONCURRENCY", "257", "less than or equal to 256"),
    ("CONCURRENCY", "2.5", "integer"),
    ("BATCH_FILES", "-1", "greater than"),
    ("DATABASE_WAIT_SECONDS", "nan", "less than"),
    ("DATABASE_WAIT_SECONDS", "inf", "less than"),
    ("DATABASE_WAIT_SECONDS", "-1", "greater than"),
    ("AUTO_MIGRATE", "maybe", "boolean"),
    ("SCHEDULE_HOUR", "24", "less than or equal to 23"),
    ("SCHEDULE_TIMEZONE", "Mars/Olympus", "IANA time zone"),
    ("SCHEDULE_TIMEZONE", "America", "IANA time zone"),
    ("SCHEDULE_TIMEZONE", "../../etc/passwd", "IANA time zone"),
    ("SCHEDULE_TIMEZONE", "x" * 300, "IANA time zone"),
    ("SCHEDULE_TIMEZONE", "'; DROP TABLE x; --", "IANA time zone"),
    ("DAGSTER_URL", "127.0.0.1:3000", "http://127.0.0.1:8501"),
    ("DASHBOARD_URL", "javascript:alert(1)", "http://127.0.0.1:8501"),
    ("LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"OPS_PIPELINE_{name} has the value {value!r}: ")
    assert why in text
    assert text.endswith("Change or unset it.")
    assert "\n" not in text
    assert "pydantic" not in text


@pytest.mark.parametrize(("name", "value", "why"), [w for w in WRONG if w[0] != "SCHEDULE_TIMEZONE"])
def test_a_wrong_option_names_the_option(name: str, value: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{name.lower(): value})
    assert str(caught.value).startswith(f"the option for {name.lower()} has the value")
    assert why in str(caught.value)


def test_paths_with_spaces_quotes_and_unicode_are_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("O'Brien's data", "データ", 'a "b" c', "x; rm -rf y"):
        monkeypatch.setenv("OPS_PIPELINE_HOME", str(tmp_path / name))
        assert load_settings().database_path == tmp_path / name / "ops.duckdb"


def test_bytes_of_no_encoding_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode(b"/data-\xff")
    monkeypatch.setenv("OPS_PIPELINE_HOME", name)
    assert os.fsencode(load_settings().home) == b"/data-\xff"


def test_a_misspelt_variable_is_refused_and_the_right_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_PIPELINE_HOEM", "/d")
    with pytest.raises(SettingsError, match=r"OPS_PIPELINE_HOEM is no setting.*did you mean OPS_PIPELINE_HOME"):
        load_settings()
