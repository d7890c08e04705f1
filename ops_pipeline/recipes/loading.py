"""The catalogue: the package's recipe files, overlaid by a user's own.

Belongs here: reading recipe files, joining them, and errors that name file, dataset and field. Does not belong here: the models themselves
(`models`) and which tickers are wanted (`universe`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from ops_pipeline.errors import RecipeError, SettingsError
from ops_pipeline.recipes.answers import ColumnType
from ops_pipeline.recipes.bulk import check_bulk, feeds_with
from ops_pipeline.recipes.http import base_address
from ops_pipeline.recipes.models import GoldTarget, Recipe
from ops_pipeline.recipes.modes import PLACEHOLDERS_OF, RequestMode
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.recipes.yaml import load_yaml
from ops_pipeline.settings import base_url_variable, plan_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PACKAGED = Path(__file__).parent / "catalogue"

# What a gold object must be told about its silver table.
GOLD_PARTS: dict[str, tuple[set[str], set[str]]] = {
    "fact_eod": (set(), {"close", "split_adjusted_close", "adjusted_close", "volume"}),
    "fact_fx": ({"currency", "rate"}, set()),
    "fact_series": ({"value"}, set()),
}
# Of these at least one: prices on different bases are different columns.
PRICES = {"close", "split_adjusted_close", "adjusted_close"}

_NUMBER = (ColumnType.DOUBLE, ColumnType.INTEGER)
GOLD_TYPES = {
    "close": _NUMBER,
    "split_adjusted_close": _NUMBER,
    "adjusted_close": _NUMBER,
    "value": _NUMBER,
    "rate": _NUMBER,
    "volume": (ColumnType.INTEGER,),
    "currency": (ColumnType.TEXT,),
}


class _Recipes(dict[str, Recipe]):
    """Recipes by dataset key; the packaged file of a source is read when one of its keys is looked up.

    Reading all packaged vendors takes longer than planning a run that asks none of them. Whoever lists recipes, instead of looking one up,
    calls `Catalogue.complete` first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, Callable[[], None]] = {}

    def read(self, source: str) -> None:
        """Reads the packaged file of a source, where that has not been done."""
        load = self.waiting.pop(source, None)
        if load is not None:
            load()

    def __missing__(self, key: str) -> Recipe:
        self.read(key.partition(".")[0])
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self.read(key.partition(".")[0])
        return dict.__contains__(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """The recipe, or the default where there is none."""
        try:
            return self[key]
        except KeyError:
            return default


@dataclass(frozen=True)
class Catalogue:
    """Every source and recipe that this home knows.

    Attributes:
        sources: declarations by source name; those of packaged vendors from when one of their recipes is looked up.
        recipes: recipes by dataset key, in the order of their files; looking one up always finds it, a list is whole after `complete`.
        origins: the file that declares each dataset.
    """

    sources: dict[str, SourceDeclaration] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=_Recipes)
    origins: dict[str, Path] = field(default_factory=dict)

    def complete(self) -> Catalogue:
        """Itself, with every packaged file read."""
        if isinstance(self.recipes, _Recipes):
            for source in list(self.recipes.waiting):
                self.recipes.read(source)
        return self

    def recipe(self, dataset_key: str) -> Recipe:
        """The recipe of a dataset key.

        Raises:
            RecipeError: when there is none; the text lists those that there are.
        """
        try:
            return self.recipes[dataset_key]
        except KeyError:
            known = ", ".join(self.complete().recipes) or "none"
            raise RecipeError(
                f"there is no dataset {dataset_key!r}; known datasets: {known}. Add one in <home>/recipes/*.yaml."
            ) from None


def load_catalogue(
    overlay: Path | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    more: Iterable[Path] = (),
    lazily: bool = False,
) -> Catalogue:
    """The packaged catalogue with the files of the overlay folder on top, in the order of their names.

    An overlay file names its source in full (`source: {name: ...}`) or by name (`source: sample`) and adds recipes to it; a recipe with the
    dataset key of an earlier one replaces it. The packaged files are never written, so an upgrade never fights a user's own.

    Args:
        overlay: the folder of a user's files; it need not exist. The folder that holds it is the home: a user's own sources are looked
            for there.
        variables: addresses and plans in place of those that sources declare, by the environment variable that gives them
            (`settings.source_variables`).
        more: recipe files on top of those of the folder.
        lazily: read a packaged vendor's file when one of its recipes is looked up.

    Raises:
        RecipeError: naming file, dataset and field.
        SettingsError: an address or a plan is given to a source that has none, or is none; the text names the variable.
    """
    catalogue = Catalogue()
    origin = catalogue.origins
    packaged = sorted(PACKAGED.glob("*.yaml"))
    if not packaged:
        raise RecipeError(f"{PACKAGED}: no recipe file; the installation is incomplete, install the package again.")
    home = overlay.parent if overlay else None

    def add(path: Path) -> None:
        origin.update(dict.fromkeys(_add_file(catalogue, path, home), path))
        _check_tables(catalogue, origin)
        _check_facts(catalogue, origin)
        check_bulk(catalogue.recipes, origin)

    waiting = cast("_Recipes", catalogue.recipes).waiting
    waiting.update({path.stem: partial(add, path) for path in packaged})
    for path in [*_overlay_files(overlay), *more]:
        origin.update(dict.fromkeys(_add_file(catalogue, path, home), path))
    if not lazily:
        catalogue.complete()
    _check_tables(catalogue, origin)
    _check_facts(catalogue, origin)
    check_bulk(catalogue.recipes, origin)
    _check_actions(catalogue, origin)
    for variable, value in (variables or {}).items():
        names = (plan_variable, _put_on_plan) if variable.upper().endswith("_PLAN") else (base_url_variable, _ask_elsewhere)
        for source in [name for name in waiting if names[0](name) == variable.upper()]:
            cast("_Recipes", catalogue.recipes).read(source)
        names[1](catalogue, variable, value)
    return catalogue


def _ask_elsewhere(catalogue: Catalogue, variable: str, address: str) -> None:
    """Gives the source that a variable names another address."""
    reached = {base_url_variable(name): source for name, source in catalogue.sources.items() if source.http}
    source = reached.get(variable.upper())
    if source is None or source.http is None:
        reached = {base_url_variable(name): source for name, source in catalogue.complete().sources.items() if source.http}
        known = f"such variables here: {', '.join(reached)}" if reached else "no source here is reached by HTTP"
        raise SettingsError(f"{variable} names no source that is reached by HTTP; {known}. Rename or unset it.")
    try:
        http = source.http.model_copy(update={"base_url": base_address(address)})
    except ValueError as e:
        raise SettingsError(f"{variable}: {e}. Change or unset it.") from None
    catalogue.sources[source.name] = source.model_copy(update={"http": http})


def _put_on_plan(catalogue: Catalogue, variable: str, plan: str) -> None:
    """Puts the source that a variable names on another plan."""
    reached = {plan_variable(name): source for name, source in catalogue.sources.items() if source.http}
    source = reached.get(variable.upper())
    if source is None:
        known = f"such variables here: {', '.join(reached)}" if reached else "no source here is reached by HTTP"
        raise SettingsError(f"{variable} names no source that is reached by HTTP; {known}. Rename or unset it.")
    try:
        catalogue.sources[source.name] = source.on_plan(plan)
    except ValidationError as e:
        problem = e.errors(include_url=False)[0]
        raise SettingsError(f"{variable}: {problem['msg'].removeprefix('Value error, ')}. Change or unset it.") from None


def _check_facts(catalogue: Catalogue, origin: dict[str, Path]) -> None:
    """Two datasets of a source would overwrite each other's rows of a fact for ever; a user's takes it from a packaged one."""
    owners: dict[tuple[str, str], str] = {}
    for key, recipe in _packaged_first(catalogue, origin):
        if not recipe.gold:
            continue
        owner = owners.setdefault((recipe.source, recipe.gold.object), key)
        if owner == key or feeds_with(recipe, catalogue.recipes[owner]):
            continue
        if origin[owner].parent != PACKAGED or origin[key].parent == PACKAGED:
            raise RecipeError(
                f"{origin[key]}: dataset {key}, field gold.object: {owner} of the same source feeds {recipe.gold.object} already;"
                " let one of them feed it."
            )
        replaced = catalogue.recipes[owner].model_dump(by_alias=True) | {"gold": None}
        catalogue.recipes[owner] = Recipe.model_validate(replaced)
        owners[recipe.source, recipe.gold.object] = key


def _packaged_first(catalogue: Catalogue, origin: dict[str, Path]) -> list[tuple[str, Recipe]]:
    """What clashes with a packaged recipe is to blame, whichever was read first."""
    return sorted(catalogue.recipes.items(), key=lambda item: origin[item[0]].parent != PACKAGED)


def _check_actions(catalogue: Catalogue, origin: dict[str, Path]) -> None:
    """The splits and dividends that adjust a history, or explain a jump, are datasets by ticker and day."""
    for key, recipe in catalogue.recipes.items():
        explaining = (recipe.checks.actions or []) if recipe.checks else []
        named = [*(("adjusted_by", n) for n in recipe.adjusted_by), *(("checks.actions", n) for n in explaining)]
        for field_name, name in named:
            actions = catalogue.recipes.get(name)
            if actions is None or not actions.per_ticker or actions.date_column is None or actions is recipe:
                raise RecipeError(
                    f"{origin[key]}: dataset {key}, field {field_name}: {name} is no other dataset with tickers and a date_column;"
                    " name one of splits or dividends."
                )


def _check_tables(catalogue: Catalogue, origin: dict[str, Path]) -> None:
    """Every silver table, history and table of the pipeline's own has a name of its own."""
    owners = {"rejected_rows": "the pipeline's own rejected_rows"}
    for key, recipe in _packaged_first(catalogue, origin):
        for table in (recipe.table, f"{recipe.table}_history"):
            owner = owners.setdefault(table, key)
            if owner != key:
                raise RecipeError(
                    f"{origin[key]}: dataset {key} would share the table silver.{table} with {owner}; rename one of them."
                )


def _overlay_files(folder: Path | None) -> Iterable[Path]:
    if folder is None or not folder.is_dir():
        return []
    # Names that begin with a dot are an editor's or a file manager's leftovers.
    return sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))


def _add_file(catalogue: Catalogue, path: Path, home: Path | None) -> set[str]:
    """Adds a file's source and recipes; returns its dataset keys."""
    data = load_yaml(path, RecipeError)
    if not data:
        return set()  # a file of comments only, as `ops-pipeline init` writes it
    if not isinstance(data, dict) or "source" not in data:
        raise RecipeError(f"{path}: expected the keys `source` and `recipes` at the top.")
    unknown = sorted(set(data) - {"source", "recipes"})
    if unknown:
        raise RecipeError(f"{path}: unknown key {unknown[0]!r} at the top; expected `source` and `recipes`.")
    source = _source(catalogue, path, data["source"], home)
    recipes = data.get("recipes") or []
    if not isinstance(recipes, list):
        raise RecipeError(f"{path}: `recipes` must be a list, one entry a dataset.")
    seen: set[str] = set()
    for position, entry in enumerate(recipes, start=1):
        recipe = _recipe(path, source, entry, position)
        if recipe.dataset_key in seen:
            raise RecipeError(f"{path}: dataset {recipe.dataset_key} is declared twice in this file.")
        seen.add(recipe.dataset_key)
        catalogue.recipes[recipe.dataset_key] = recipe
    return seen


def _source(catalogue: Catalogue, path: Path, data: Any, home: Path | None) -> SourceDeclaration:
    name = data.get("name") if isinstance(data, dict) else data
    if isinstance(name, str):
        cast("_Recipes", catalogue.recipes).read(name)  # what it adds to, or replaces
    if isinstance(data, str):
        if data not in catalogue.sources:
            known = ", ".join(catalogue.complete().sources)
            raise RecipeError(
                f"{path}: source {data!r} is not declared; known sources: {known}. Name one, or declare it with `source: {{name: ...}}`."
            )
        return catalogue.sources[data]
    try:
        source = SourceDeclaration.model_validate(data).at(home)
    except ValidationError as e:
        raise RecipeError(_sentence(path, "source", e)) from e
    catalogue.sources[source.name] = source
    return source


def _recipe(path: Path, source: SourceDeclaration, entry: Any, position: int) -> Recipe:
    if not isinstance(entry, dict):
        raise RecipeError(f"{path}: recipe {position} must be a mapping with at least `dataset`, `columns` and `key`.")
    name = ".".join(
        str(p)
        for p in (source.name, entry.get("dataset") or f"(recipe {position})", entry.get("discriminator"))
        if p not in (None, "-")
    )
    if "source" in entry:
        raise RecipeError(f"{path}: dataset {name}, field source: the source stands at the top of the file, for all its recipes.")
    try:
        recipe = Recipe.model_validate({**entry, "source": source.name})
    except ValidationError as e:
        raise RecipeError(_sentence(path, f"dataset {name}", e)) from e
    _check_request(path, name, source, recipe)
    _check_files(path, name, source, recipe)
    if recipe.gold:
        needed, optional = GOLD_PARTS[recipe.gold.object]
        given = set(recipe.gold.columns)
        if needed - given:
            raise RecipeError(
                f"{path}: dataset {name}, field gold.columns: {recipe.gold.object} needs {', '.join(sorted(needed - given))}."
            )
        if given - needed - optional:
            extra = ", ".join(sorted(given - needed - optional))
            raise RecipeError(f"{path}: dataset {name}, field gold.columns: {recipe.gold.object} does not know {extra}.")
        if recipe.gold.object == "fact_eod" and not given & PRICES:
            raise RecipeError(f"{path}: dataset {name}, field gold.columns: fact_eod needs one of {', '.join(sorted(PRICES))}.")
        if (recipe.gold.object != "fact_fx") != (recipe.per_ticker or recipe.symbol_column is not None):
            raise RecipeError(
                f"{path}: dataset {name}, field gold.object: {recipe.gold.object} does not fit"
                f" per_ticker: {str(recipe.per_ticker).lower()}."
            )
        _check_gold_columns(path, name, recipe, recipe.gold)
    return recipe


def _check_request(path: Path, name: str, source: SourceDeclaration, recipe: Recipe) -> None:
    """An HTTP source is told what to ask, asks something else for each ticker, and names nothing that the dataset does not have."""
    where = f"{path}: dataset {name}, field request:"
    request = recipe.request
    if source.http is None:
        if request is not None:
            raise RecipeError(f"{where} the source {source.name} is not asked by HTTP; leave it out.")
        return
    if request is None:
        raise RecipeError(f"{where} missing; say with `path` and `params` what {source.name} is asked.")
    if recipe.per_ticker and "ticker" not in request.placeholders:
        raise RecipeError(f"{where} no part of it holds {{ticker}}, so every ticker would get the same answer.")
    if not recipe.per_ticker and "ticker" in request.placeholders:
        raise RecipeError(f"{where} {{ticker}} has no value in a dataset that is asked as a whole.")
    without = sorted(request.placeholders - {"ticker"} - PLACEHOLDERS_OF[recipe.mode])
    if without:
        dates = ", which asks without dates" if without[0] in ("from_date", "to_date") else ""
        raise RecipeError(f"{where} {{{without[0]}}} has no value in the mode {recipe.mode.value}{dates}.")
    wanted = PLACEHOLDERS_OF[recipe.mode]
    if recipe.mode in (RequestMode.BY_PERIOD, RequestMode.LAST_N) and not request.placeholders & wanted:
        raise RecipeError(
            f"{where} no part of it holds {' or '.join(f'{{{name}}}' for name in sorted(wanted))}, so every request would be the same."
        )
    if (
        request.row_limit is not None
        and not {"from_date", "to_date"} <= request.placeholders
        and recipe.mode is RequestMode.WINDOW
    ):
        raise RecipeError(f"{where} row_limit divides the window, so path or params must hold {{from_date}} and {{to_date}}.")
    if request.paging is not None and request.paging.reads_json and recipe.answer.format != "json":
        raise RecipeError(f"{where} paging reads what follows from the answer, which works on json answers only.")
    if request.paging is not None and source.http.key and source.http.key.query == request.paging.way.param:
        raise RecipeError(f"{where} the parameter {source.http.key.query} is the place of the key, and not of `paging`.")
    if source.http.key and source.http.key.query in request.params:
        raise RecipeError(f"{where} the parameter {source.http.key.query} is the place of the key, which is put there by itself.")


def _check_files(path: Path, name: str, source: SourceDeclaration, recipe: Recipe) -> None:
    """A folder's dataset says where its files are, and a ticker's files are not those of all."""
    where = f"{path}: dataset {name}, field files:"
    if source.files is None:
        if recipe.files is not None:
            raise RecipeError(f"{where} the source {source.name} is no folder of files; leave it out.")
        return
    if recipe.files is None:
        raise RecipeError(f"{where} missing; say where below the folder its files are, such as prices/{{ticker}}.csv.")
    if recipe.per_ticker != ("{ticker}" in recipe.files):
        raise RecipeError(
            f"{where} {{ticker}} stands in it where per_ticker is true, and only there; per_ticker is {str(recipe.per_ticker).lower()}."
        )
    if recipe.mode is not RequestMode.SNAPSHOT:
        raise RecipeError(f"{path}: dataset {name}, field mode: files are read whole; write `mode: snapshot`.")


def _check_gold_columns(path: Path, name: str, recipe: Recipe, gold: GoldTarget) -> None:
    """The parts have types that the fact can hold, and the key has nothing that the fact's rows lack."""
    types = {column.name: column.type for column in recipe.columns}
    for part, column in gold.columns.items():
        if types[column] not in GOLD_TYPES[part] and not (part == "volume" and recipe.symbol_column and types[column] in _NUMBER):
            fitting = " or ".join(t.value for t in GOLD_TYPES[part])
            raise RecipeError(
                f"{path}: dataset {name}, field gold.columns: {part} must be of type {fitting}; {column} is {types[column].value}."
            )
    lasting = {
        recipe.date_column,
        recipe.symbol_column or recipe.date_column,
        *([gold.columns["currency"]] if "currency" in gold.columns else []),
    }
    if set(recipe.key) != lasting:
        raise RecipeError(
            f"{path}: dataset {name}, field key: {gold.object} has one row a {' and '.join(sorted(c for c in lasting if c))};"
            f" the key is {', '.join(recipe.key)}."
        )


def _sentence(path: Path, where: str, error: ValidationError) -> str:
    """The first problem as one sentence with file, dataset and field, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    place = ".".join(str(p) for p in first["loc"])
    more = f" ({len(problems) - 1} more in the same entry)" if len(problems) > 1 else ""
    # Below `http` and `request` a key may stand by mistake.
    given = None if {"http", "request"} & set(first["loc"]) else first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"{path}: {where}{f', field {place}' if place else ''}: {message}{shown}{more}."
