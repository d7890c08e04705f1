"""Whether an installation and a home can work.

Belongs here: one function a check; each finds something out, changes nothing that stays, and says what to do. Does not belong here: whether
the data are as they should be (`engine.morning`), how findings are shown (`cli.doctor`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ops_pipeline.errors import DatabaseMissingError, UserError
from ops_pipeline.publish.selection import Selection
from ops_pipeline.publish.versions import Versions
from ops_pipeline.settings import PREFIX, load_settings, source_variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.source import SourceDeclaration
    from ops_pipeline.settings import Settings

State = Literal["ok", "warning", "failed"]

_ROOM_TO_WORK, _LITTLE_ROOM = 200_000_000, 2_000_000_000
_ONLINE_SECONDS = 10.0
# Takes the file's lock, says so, and keeps it until it is told to end.
_HOLDER = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at.
        state: ok, warning (it works, but see) or failed.
        found: one sentence.
        fix: what to do; empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    fix: str = ""


def examine(home: Path | None, *, online: bool = False) -> Iterator[Check]:
    """Every check, as soon as it is done; a later one that needs an earlier one is left out where that failed.

    Args:
        home: the data folder; None: the settings decide.
        online: also ask whether the vendors' servers answer; nothing else is sent to them.
    """
    yield _installation()
    try:
        settings = load_settings(home=home)
    except UserError as e:
        yield Check("settings", "failed", str(e), "set or unset the variable")
        return
    yield _settings()
    yield _folder(settings)
    yield _disk(settings)
    yield _lock(settings)
    yield _dagster_home()
    from ops_pipeline.engine.context import build_context

    try:
        # A database that somebody holds is told of, not waited for.
        context = build_context(settings.model_copy(update={"database_wait_seconds": 1.0}), notify=lambda _: None)
        universe = context.universe()
        declared = len(context.catalogue.complete().recipes)
    except UserError as e:
        yield Check("recipes and universe", "failed", str(e), "mend the file")
        return
    partitions = sum(1 for _ in universe)
    yield Check("recipes and universe", "ok", f"{declared} datasets declared, {partitions} partitions wanted")
    yield _database(context)
    yield _published(context)
    names = dict.fromkeys(context.catalogue.recipes[dataset].source for dataset in universe.wanted)
    sources = [context.catalogue.sources[name] for name in names]
    yield from _keys(sources)
    if online:
        yield from _online(sources)


def _installation() -> Check:
    wrong = []
    try:
        wanted = metadata.requires("ops-pipeline") or []
    except metadata.PackageNotFoundError:
        return Check("installation", "warning", "ops-pipeline runs from a folder, not as an installed package", "make setup")
    from packaging.requirements import Requirement

    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    python = ".".join(map(str, sys.version_info[:3]))
    if wrong:
        return Check(
            "installation", "failed", f"Python {python}; {'; '.join(wrong)}", "make setup, or pip install ops-pipeline anew"
        )
    return Check(
        "installation", "ok", f"Python {python}, ops-pipeline {metadata.version('ops-pipeline')}, every package as wanted"
    )


def _settings() -> Check:
    given = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    addresses = [name for name in given if name in source_variables() and name.upper().endswith("_BASE_URL")]
    if addresses:
        found = f"{', '.join(given)}: sources are asked at other addresses than their own"
        return Check("settings", "warning", found, f"unset {' '.join(addresses)}, unless you mean it")
    return Check("settings", "ok", f"from the environment: {', '.join(given)}" if given else "all as built in")


def _folder(settings: Settings) -> Check:
    home = settings.home.absolute()
    existing = next((path for path in (home, *home.parents) if path.exists()), home)
    if not existing.is_dir():
        return Check("data folder", "failed", f"{existing} is no folder", "set OPS_PIPELINE_HOME to a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as e:
        return Check(
            "data folder", "failed", f"{existing} cannot be written ({e.strerror})", "make it writable, or set OPS_PIPELINE_HOME"
        )
    return Check("data folder", "ok", f"{home}" if existing == home else f"{home}, which the first run makes")


def _disk(settings: Settings) -> Check:
    home = settings.home.absolute()
    free = shutil.disk_usage(next(path for path in (home, *home.parents) if path.exists())).free
    found = f"{free / 1e9:,.1f} GB free"
    if free < _ROOM_TO_WORK:
        return Check("disk", "failed", found, "free some space: `ops-pipeline disk` tells what takes it")
    return Check(
        "disk",
        "warning" if free < _LITTLE_ROOM else "ok",
        found,
        "`ops-pipeline disk` tells what takes it" if free < _LITTLE_ROOM else "",
    )


def _lock(settings: Settings) -> Check:
    """Two processes must not hold the same lock: some network and container file systems let them."""
    home = settings.home.absolute()
    folder = next((path for path in (settings.database_path.parent, home, *home.parents) if path.is_dir()), home)
    fix = "keep the data folder on a local disk: network and Docker Desktop mounts do not carry the database's lock"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".lock-probe-") as file:
            with subprocess.Popen(  # noqa: S603 - this interpreter and a text of ours
                [sys.executable, "-c", _HOLDER, file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as holder:
                if holder.stdout is not None and holder.stdout.readline() and _can_lock(file.fileno()):
                    return Check("lock", "failed", f"two processes hold one lock in {folder}", fix)
            if holder.returncode or not _can_lock(file.fileno()):
                return Check("lock", "failed", f"a lock in {folder} does not end with its process", fix)
    except OSError as e:
        return Check("lock", "failed", f"{folder} carries no locks ({e.strerror or e})", fix)
    return Check("lock", "ok", "two processes keep each other out")


def _can_lock(handle: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _dagster_home() -> Check:
    given = os.environ.get("DAGSTER_HOME")
    if not given:
        return Check("Dagster home", "ok", "DAGSTER_HOME is not set; `make dev` takes the project's folder")
    if not Path(given).is_absolute():
        return Check(
            "Dagster home",
            "failed",
            f"DAGSTER_HOME is {given}, which is not absolute",
            'export DAGSTER_HOME="$PWD" in the project\'s folder',
        )
    if not (Path(given) / "dagster.yaml").is_file():
        fix = "set it to the project's folder: runs queue and are watched as its dagster.yaml says"
        return Check("Dagster home", "warning", f"{given} holds no dagster.yaml", fix)
    return Check("Dagster home", "ok", given)


def _database(context: Context) -> Check:
    from ops_pipeline.ops.migrations import status

    path = context.settings.database_path
    try:
        with context.warehouse.reading():
            pass
        pending = [one for one in status(context.warehouse) if one.applied_at is None]
    except DatabaseMissingError:
        return Check("database", "ok", f"{path}, which the first run makes")
    except UserError as e:
        return Check("database", "failed", str(e), "see the sentence")
    if pending:
        fix = "ops-pipeline migrate --apply" if not context.settings.auto_migrate else ""
        told = "" if fix else ", which the next run applies"
        return Check(
            "database",
            "warning",
            f"{path} lacks {len(pending)} migrations{told}",
            fix or "nothing, or `ops-pipeline migrate --apply`",
        )
    return Check("database", "ok", f"{path}, every migration applied")


def _published(context: Context) -> Check:
    if Selection(context.settings.publish).nothing:
        return Check("published", "ok", "turned off by OPS_PIPELINE_PUBLISH")
    versions = Versions(context.settings.published_path)
    manifest = versions.current_manifest()
    if manifest is None:
        if not context.settings.database_path.exists():
            return Check("published", "ok", "nothing yet: the first run publishes")
        return Check("published", "warning", "nothing is published", "ops-pipeline publish")
    kept = len(versions.all())
    return Check("published", "ok", f"version {manifest.version}, {len(manifest.tables)} tables; {kept} on disk")


def _keys(sources: Iterable[SourceDeclaration]) -> Iterator[Check]:
    for source in sources:
        key = source.http.key if source.http else None
        if key is None:
            continue
        try:
            is_set = key.read() is not None
        except ValueError as e:
            yield Check(f"key of {source.name}", "failed", str(e), f"export {key.env}=...")
            continue
        if is_set:
            yield Check(f"key of {source.name}", "ok", f"{key.env} is set")
        else:
            yield Check(f"key of {source.name}", "failed", f"{key.env} is not set", f"export {key.env}=...")


def _online(sources: Iterable[SourceDeclaration]) -> Iterator[Check]:
    asked = [(source.name, source.http.base_url) for source in sources if source.http]
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        yield from pool.map(_answers, asked)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that leads elsewhere is an answer."""

    def redirect_request(self, *_: object) -> None:
        return None


def _answers(asked: tuple[str, str]) -> Check:
    """Whether the server at an address answers anything at all: no path, no key and no question is sent."""
    name, url = asked
    place = urlsplit(url)
    request = urllib.request.Request(f"{place.scheme}://{place.netloc}/", method="HEAD")  # noqa: S310 - recipes take http and https only
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_ONLINE_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", None) or e
        fix = "look at the network, the proxy (HTTPS_PROXY, NO_PROXY) and the address"
        return Check(f"server of {name}", "failed", f"{place.hostname} does not answer ({reason})", fix)
    return Check(f"server of {name}", "ok", f"{place.hostname} answers")
