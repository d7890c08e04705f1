"""Changing the universe: which change is allowed, and what it does to the file.

Belongs here: adding, removing, renaming and importing. Does not belong here: how the file's text is edited (`editing`) and what may stand
in it (`universe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops_pipeline.errors import UniverseError
from ops_pipeline.files import write_atomically
from ops_pipeline.recipes.editing import Entry, appended, edited, grouped, ticker_of
from ops_pipeline.recipes.membership import read_members, updated, written
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.tickers import check_ticker
from ops_pipeline.recipes.universe import DEFAULT_DOMAIN, load_universe
from ops_pipeline.recipes.yaml import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path

    from ops_pipeline.recipes.loading import Catalogue
    from ops_pipeline.recipes.universe import Universe


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        path: the group's file.
        came: tickers that were not members before.
        left: members that are so no more.
        members: present members.
        datasets: datasets that take the group since now.
    """

    path: Path
    came: tuple[str, ...]
    left: tuple[str, ...]
    members: int
    datasets: tuple[str, ...]


def add_tickers(
    path: Path, catalogue: Catalogue, tickers: Iterable[str], datasets: Iterable[str] = (), since: date | None = None
) -> dict[str, list[str]]:
    """Adds tickers to the given datasets, or to every wanted dataset that has tickers; comments in the file stay.

    Args:
        path: the universe file.
        catalogue: the known datasets.
        tickers: as the vendor writes them.
        datasets: dataset keys; none: every wanted dataset that has tickers.
        since: the first day of the membership; None: always.

    Returns:
        dataset key -> tickers that were not in it before.

    Raises:
        UniverseError: for a bad ticker, an unknown dataset, or a dataset without tickers.
    """
    wanted = [check_ticker(t) for t in tickers]
    universe = load_universe(path, catalogue)
    targets = list(datasets) or [d for d in universe.wanted if catalogue.recipes[d].per_ticker]
    for dataset in targets:
        recipe = catalogue.recipes.get(dataset)
        if recipe is None:
            raise UniverseError(f"there is no dataset {dataset!r}; known datasets: {', '.join(catalogue.complete().recipes)}.")
        if not recipe.per_ticker and wanted:
            raise UniverseError(f"dataset {dataset} is asked for as a whole, it takes no tickers.")
    if not targets:
        raise UniverseError(f"{universe.path}: no dataset with tickers is wanted yet; name one with --dataset.")
    # Who left may come back.
    there = {d: {m.ticker for m in universe.members.get(d, ()) if m.valid_to is None} for d in targets}
    added = {d: [t for t in dict.fromkeys(wanted) if t not in there[d]] for d in targets}
    entries: dict[str, list[Entry]] = {d: [_entry(t, since, None) for t in new] for d, new in added.items()}
    _edit(universe, path, add=entries)
    return {d: new for d, new in added.items() if new}


def remove_tickers(
    path: Path, catalogue: Catalogue, tickers: Iterable[str], datasets: Iterable[str] = (), last_day: date | None = None
) -> dict[str, list[str]]:
    """Removes tickers from the given datasets, or from all; what is stored of them stays.

    Args:
        path: the universe file.
        catalogue: the known datasets.
        tickers: as the file writes them.
        datasets: dataset keys; none: all.
        last_day: the last day of the membership, which is kept with its end; None: the entry goes, as if it had never been there.

    Returns:
        dataset key -> tickers that were removed.

    Raises:
        UniverseError: when a ticker stands in none of the datasets.
    """
    gone = list(dict.fromkeys(tickers))
    universe = load_universe(path, catalogue)
    targets = list(dict.fromkeys(datasets)) or list(universe.wanted)
    for dataset in targets:
        if dataset not in universe.wanted:
            raise UniverseError(
                f"{universe.path}: dataset {dataset!r} is not wanted; it lists {', '.join(universe.wanted) or 'none'}."
            )
    own = _own(universe)
    removed = {d: [t for t in gone if t in own[d] and t != NO_TICKER] for d in targets}
    missing = [t for t in gone if not any(t in r for r in removed.values())]
    if missing:
        _explain_missing(universe, missing, targets)
    removed = {d: r for d, r in removed.items() if r}
    if last_day is None:
        _edit(universe, path, remove=removed)
        return removed
    ends: dict[str, dict[str, Entry]] = {}
    for dataset, leaving in removed.items():
        for ticker in leaving:
            since = next((m.valid_from for m in universe.members[dataset] if m.ticker == ticker and m.valid_to is None), None)
            if since is not None and since > last_day:
                raise UniverseError(f"{ticker} belongs to {dataset} since {since} only; it cannot end on {last_day}.")
            ends.setdefault(dataset, {})[ticker] = _entry(ticker, since, last_day)
    _edit(universe, path, replace=ends)
    return removed


def rename_ticker(path: Path, catalogue: Catalogue, old: str, new: str, on: date, domain: str = DEFAULT_DOMAIN) -> None:
    """Notes that an instrument trades under another symbol from a day on; lists that name the old one mean the new one then.

    Raises:
        UniverseError: a bad ticker, or a rename that contradicts what is declared.
    """
    universe = load_universe(path, catalogue)
    if check_ticker(old) == check_ticker(new):
        raise UniverseError(f"{old} is {new} already.")
    _append(universe, path, catalogue, "renames", {"from": old, "to": new, "on": on.isoformat(), **_domain(domain)})


def delist_ticker(path: Path, catalogue: Catalogue, ticker: str, last_day: date, domain: str = DEFAULT_DOMAIN) -> None:
    """Notes the last day on which a symbol traded: nothing is expected behind it.

    Raises:
        UniverseError: a bad ticker, or a day that contradicts what is declared.
    """
    universe = load_universe(path, catalogue)
    entry = {"ticker": check_ticker(ticker), "last_day": last_day.isoformat(), **_domain(domain)}
    _append(universe, path, catalogue, "delistings", entry)


def import_group(
    path: Path, catalogue: Catalogue, file: Path, name: str, datasets: Iterable[str] = (), on: date | None = None
) -> Imported:
    """Makes a group of a file of tickers, or brings it to that file's state from a day on: who is not in the file any more has left.

    Args:
        path: the universe file; the group's own file is made below its folder.
        catalogue: the known datasets.
        file: a ticker a line, or CSV.
        name: the group's.
        datasets: datasets that take the group.
        on: the first day of the new state; None: the first import, or the file's own dates, replace what is known.

    Raises:
        UniverseError: a file that cannot be read, a bad name, an unknown dataset; nothing is changed then.
    """
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or len(name) > 60:
        raise UniverseError(f"the group's name {name[:40]!r} must be letters, digits, - and _.")
    universe = load_universe(path, catalogue)
    given = read_members(file)
    group = universe.groups.get(name)
    place = path.parent / "groups" / f"{name}.csv"
    if group is not None and group.path is None:
        raise UniverseError(
            f"{universe.path}: the group {name} stands in the file itself; edit it there, or choose another name."
        )
    before = () if group is None else group.members
    dated = any(m.valid_from or m.valid_to for m in given)
    after = list(given)
    if on is not None and group is not None and not dated:
        after = updated(before, [m.ticker for m in given], on, on - timedelta(days=1))
    targets = [d for d in dict.fromkeys(datasets) if group is None or d not in group.datasets]
    for dataset in targets:
        if not catalogue.recipe(dataset).per_ticker:
            raise UniverseError(f"dataset {dataset} is asked for as a whole, it takes no group.")
    target = group.path if group and group.path else place
    _write(target, written(after))
    if group is None or targets:
        _edit(universe, path, add={d: [{"group": name}] for d in targets}, group=None if group else (name, f"groups/{name}.csv"))
    was, now = ({m.ticker for m in some if m.valid_to is None} for some in (before, after))
    return Imported(target, tuple(sorted(now - was)), tuple(sorted(was - now)), len(now), tuple(targets))


# --- the file -------------------------------------------------------------------------------------------------------------------


def _entry(ticker: str, since: date | None, until: date | None) -> Entry:
    dates = {name: day.isoformat() for name, day in (("from", since), ("to", until)) if day}
    return {"ticker": ticker, **dates} if dates else ticker


def _domain(domain: str) -> dict[str, str]:
    return {} if domain == DEFAULT_DOMAIN else {"domain": domain}


def _own(universe: Universe) -> dict[str, set[str]]:
    """Dataset key -> the tickers that stand in its own list, not in a group's."""
    data = parse_yaml(_text(universe), universe.path, UniverseError)["datasets"]
    return {d: {t for entry in entries or () if (t := ticker_of(entry))} for d, entries in data.items()}


def _explain_missing(universe: Universe, missing: list[str], targets: list[str]) -> None:
    for ticker in missing:
        for name, group in universe.groups.items():
            if any(m.ticker == ticker for m in group.members) and set(group.datasets) & set(targets):
                raise UniverseError(
                    f"{ticker} comes from the group {name}; take it out of {group.path or universe.path}, or import the group anew."
                    " Nothing was changed."
                )
    raise UniverseError(f"{universe.path}: {', '.join(missing)} not found in {', '.join(targets)}; nothing was changed.")


def _text(universe: Universe) -> str:
    return universe.path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")


def _append(universe: Universe, path: Path, catalogue: Catalogue, section: str, entry: dict[str, str]) -> None:
    """Adds an entry to a section, when the file still makes sense with it."""
    before = _text(universe)
    expected = parse_yaml(before, universe.path, UniverseError)
    expected[section] = [*(expected.get(section) or []), entry]
    try:
        after = appended(before, section, entry)
    except ValueError:
        after = before
    _check(universe, after, expected)
    trial = path.with_name(f".{path.name}.trial")
    try:
        _write(trial, after)
        load_universe(trial, catalogue)
    except UniverseError as e:
        raise UniverseError(str(e).replace(str(trial), str(path))) from None
    finally:
        trial.unlink(missing_ok=True)
    _write_like(universe, path, after)


def _edit(
    universe: Universe,
    path: Path,
    *,
    add: dict[str, list[Entry]] | None = None,
    remove: dict[str, list[str]] | None = None,
    replace: dict[str, dict[str, Entry]] | None = None,
    group: tuple[str, str] | None = None,
) -> None:
    """Writes the universe's file to the path with these entries added, removed and replaced.

    Raises:
        UniverseError: when the file's layout does not allow it; it is then as it was.
    """
    before = _text(universe)
    whole = parse_yaml(before, universe.path, UniverseError)
    expected: dict[str, Any] = whole["datasets"]
    for dataset, new in (add or {}).items():
        if new or dataset not in expected:
            expected[dataset] = [*expected.get(dataset, []), *new]
    for dataset, gone in (remove or {}).items():
        expected[dataset] = [t for t in expected[dataset] if ticker_of(t) not in gone]
    for dataset, others in (replace or {}).items():
        expected[dataset] = [others.get(ticker_of(t) or "", t) for t in expected[dataset]]
    after = edited(before, add or {}, remove or {}, replace)
    if group is not None:
        whole["groups"] = {**(whole.get("groups") or {}), group[0]: group[1]}
        try:
            after = grouped(after, *group)
        except ValueError:
            after = before
    if after == before and not group:
        return
    _check(universe, after, whole)
    _write_like(universe, path, after)


def _check(universe: Universe, after: str, expected: object) -> None:
    try:
        understood = parse_yaml(after, universe.path, UniverseError) == expected
    except UniverseError:
        understood = False
    if not understood:
        raise UniverseError(f"{universe.path}: its lists are written in a way that cannot be edited in place; edit it by hand.")


def _write_like(universe: Universe, path: Path, text: str) -> None:
    raw = universe.path.read_bytes()
    _write(path, text.replace("\n", "\r\n") if b"\r\n" in raw else text)


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as e:
        raise UniverseError(
            f"{path}: cannot be written ({e.strerror or e}). Check the folder's permissions and free space."
        ) from e
