"""Answers that are asked for only if they changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ops_pipeline.engine.conditional import with_validators
from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.fetch import Asked
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, plan
from ops_pipeline.settings import load_settings
from ops_pipeline.sources.base import Validators
from ops_pipeline.sources.conditions import Condition
from ops_pipeline.sources.redaction import Redactor
from ops_pipeline_tests.engine.home import assert_tidy, bronze_files, ledger
from ops_pipeline_tests.sources.http_home import DATASET, KEY, LAST, RECIPE, make_home, run, write_recipe
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

SNAPSHOT: dict[str, Any] = {
    "mode": "snapshot", "cadence": "daily", "first_date": None, "calendar": "daily",
    "request": {"path": "/profile", "params": {"symbol": "{ticker}"}},
}  # fmt: skip
MODIFIED = "Wed, 21 Oct 2026 07:28:00 GMT"


def snapshot(**changes: Any) -> dict[str, Any]:
    given = RECIPE | SNAPSHOT | changes
    return {name: value for name, value in given.items() if value is not None}


class Versioned:
    """A vendor with a version of its one answer."""

    def __init__(self) -> None:
        self.version = 1

    def __call__(self, seen: Seen) -> Reply:
        tag = f'"v{self.version}"'
        headers = {"ETag": tag, "Last-Modified": MODIFIED}
        if seen.headers.get("if-none-match") == tag:
            return Reply(b"", status=304, headers=headers)
        records = [{"date": "2024-01-02", "close": self.version, "volume": 1, "adjClose": 1}]
        return Reply(json.dumps(records).encode(), headers=headers)


def conditions(vendor: VendorServer) -> list[tuple[str | None, str | None]]:
    """What the requests since the last look asked by, in order."""
    found = [(seen.headers.get("if-none-match"), seen.headers.get("if-modified-since")) for seen in vendor.seen]
    vendor.seen.clear()
    return found


def again(context: Context) -> OutcomeKind:
    """What becomes of the ticker when it is asked once more."""
    return run(context, full=True)["AAA"].kind


def test_what_has_not_changed_is_neither_sent_nor_stored_again(tmp_path: Path) -> None:
    versioned = Versioned()
    asked_by_tag = ('"v1"', MODIFIED)
    with VendorServer(versioned) as vendor:
        context = make_home(tmp_path, vendor.url, ["AAA"])
        write_recipe_of(tmp_path, vendor.url)
        context = build_context(load_settings(home=tmp_path))
        assert again(context) is OutcomeKind.PROMOTED
        first = bronze_files(context)
        assert [again(context), again(context)] == [OutcomeKind.UNCHANGED] * 2
        assert conditions(vendor) == [(None, None), asked_by_tag, asked_by_tag]
        before, *others = ledger(context)
        for row in others:
            assert (row.bronze_outcome, row.bronze_status_code, row.bronze_rows) == ("unchanged", 304, 1)
            assert (row.bronze_filename, row.bronze_payload_hash) == (before.bronze_filename, before.bronze_payload_hash)
            assert row.bronze_validators == before.bronze_validators
            assert (row.request_complete, row.bronze_to_date) == (True, None)
        assert bronze_files(context) == first
        assert_tidy(context)

        # Another answer is taken, and asked by its own tag from then on.
        versioned.version = 2
        assert again(context) is OutcomeKind.PROMOTED
        assert again(context) is OutcomeKind.UNCHANGED
        assert conditions(vendor) == [asked_by_tag, ('"v2"', MODIFIED)]

        # By another recipe, where the vendor is not believed, or when the file is gone, it is asked for in any case.
        assert known(context)
        write_recipe_of(tmp_path, vendor.url, conditional=False)
        assert not known(build_context(load_settings(home=tmp_path)))
        write_recipe_of(tmp_path, vendor.url, description="Other words.")
        assert not known(build_context(load_settings(home=tmp_path)))
        named = ledger(context)[-1].bronze_filename
        assert named is not None
        context.store.path(named).unlink()
        assert not known(context)


def known(context: Context) -> bool:
    """Whether the ticker's next request would ask conditionally."""
    (item,) = plan(context, list(context.universe()), RunOptions(today=LAST, full=True))
    assert item.recipe is not None
    (one,) = with_validators(context, [Asked(item.recipe, request, "next") for request in item.requests])
    assert (one.before is None) == (one.request.validators is None)
    return one.before is not None


def write_recipe_of(folder: Path, url: str, *, description: str = "Prices.", **http: Any) -> None:
    write_recipe(folder, url, **http)
    path = folder / "recipes" / "vendor.yaml"
    document = json.loads(path.read_text())
    document["recipes"] = [snapshot(description=description)]
    path.write_text(json.dumps(document))


def test_a_vendor_that_says_not_modified_unasked_fails_its_key(tmp_path: Path) -> None:
    with VendorServer(lambda _: Reply(b"", status=304)) as vendor:
        outcome = run(make_home(tmp_path, vendor.url, ["AAA"]))["AAA"]
    assert (outcome.kind, outcome.key.dataset) == (OutcomeKind.FAILED, DATASET)


def test_only_what_is_safe_to_keep_is_kept() -> None:
    redactor = Redactor(KEY)
    condition = Condition("https://vendor.example/a", None)
    kept = condition.kept({"ETag": 'W/"1"'}, redactor)
    assert kept is not None
    assert Validators.read(kept.text) == kept
    assert Condition("https://vendor.example/a", kept).headers == {"If-None-Match": 'W/"1"'}
    assert Condition("https://vendor.example/b", kept).headers == {}
    for value in (f'"{KEY}"', '"é"', '"' + "x" * 300 + '"', " ", '"a\nb"'):
        assert condition.kept({"ETag": value}, redactor) is None
    assert condition.kept({}, redactor) is None
