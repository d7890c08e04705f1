"""What MkDocs does beyond copying pages: the reference, made from the code, and links to files outside this folder.

Belongs here: pages whose facts stand in the code. Does not belong here: text that a person writes.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)]*)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the decisions by number, so that a new one is in the navigation by being there."""
    names = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    decisions = [{path.read_text(encoding="utf-8").split("\n")[0].lstrip("# "): f"decisions/{path.name}"} for path in names]
    config.nav = _replaced(config.nav, "decisions/", decisions)
    return config


def _replaced(node: Any, name: str, by: Any) -> Any:
    if isinstance(node, list):
        return [_replaced(one, name, by) for one in node]
    if isinstance(node, dict):
        return {key: _replaced(value, name, by) for key, value in node.items()}
    return by if node == name else node


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the reference."""
    pages = {"cli": _commands, "settings": _settings, "recipes": _recipes, "tables": _tables}
    for name, make in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(make()) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link that leaves this folder works in the repository and not here: only its text stays."""

    def plain(match: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(page.file.src_uri), match[2].partition("#")[0]))
        return match[1] if target.startswith("..") else match[0]

    return _LINK.sub(plain, markdown)


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _commands() -> Iterator[str]:
    import typer.main

    from ops_pipeline.cli.app import app

    yield "# Every option"
    yield "\nMade from the program; [Commands](../commands.md) tells what the commands do and what their JSON holds."

    def walk(group: Any, path: str) -> Iterator[str]:
        for name, command in group.commands.items():
            yield f"\n## {path} {name}\n\n{_cell(command.help)}\n"
            if command.epilog:
                yield f"`{command.epilog.removeprefix('Example: ')}`\n"
            rows = [p for p in command.params if p.name != "help"]
            if rows:
                yield "| argument or option | meaning | default |\n| --- | --- | --- |"
            for parameter in rows:
                names = (
                    ", ".join(f"`{o}`" for o in parameter.opts)
                    if parameter.param_type_name == "option"
                    else f"`{parameter.metavar}`"
                )
                default = parameter.default if parameter.default not in (None, False, ()) else ""
                yield f"| {names} | {_cell(getattr(parameter, 'help', '') or '')} | {f'`{default}`' if default != '' else ''} |"
            if hasattr(command, "commands"):
                yield from walk(command, f"{path} {name}")

    yield from walk(typer.main.get_command(app), "ops-pipeline")


def _settings() -> Iterator[str]:
    from ops_pipeline.settings import PREFIX, Settings

    yield "# Settings\n\nEnvironment variables. A name that is none is refused, with the one that was probably meant.\n"
    yield "| variable | meaning | default |\n| --- | --- | --- |"
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        yield f"| `{PREFIX}{name.upper()}` | {_cell(field.description)} | {default} |"
    yield f"| `{PREFIX}SOURCE_<NAME>_BASE_URL` | another address for the source of this name: capitals, hyphens as underscores | |"


def _recipes() -> Iterator[str]:
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.source import SourceDeclaration

    yield "# Recipe files\n\nOne YAML file a source, below `data/recipes/`; files there overlay the built-in ones in"
    yield "`ops_pipeline/recipes/catalogue/`."
    for title, model in (("source", SourceDeclaration), ("recipes", Recipe)):
        yield f"\n## {title}: fields\n\n| field | must be given | default |\n| --- | --- | --- |"
        for name, field in model.model_fields.items():
            if name == "source" and model is Recipe:
                continue
            default = "" if field.is_required() or field.default is None else f"`{field.get_default(call_default_factory=True)}`"
            yield f"| `{field.alias or name}` | {'yes' if field.is_required() else ''} | {default} |"
    yield "\n## Every field explained\n\nWhat `ops-pipeline init` writes as `recipes/example.yaml`:\n\n```yaml"
    yield (ROOT / "ops_pipeline" / "cli" / "templates" / "example.yaml").read_text(encoding="utf-8").rstrip()
    yield "```"


def _tables() -> Iterator[str]:
    """What a database holds after the migrations, before any dataset."""
    from ops_pipeline.engine.context import build_context
    from ops_pipeline.settings import load_settings

    with tempfile.TemporaryDirectory() as folder:
        context = build_context(load_settings(home=Path(folder)))
        context.migrate(lambda _: None)
        with context.warehouse.reading() as connection:
            tables = connection.execute(
                "SELECT schema_name, table_name, comment FROM duckdb_tables() WHERE NOT internal AND NOT temporary ORDER BY ALL"
            ).fetchall()
            columns = connection.execute(
                "SELECT schema_name, table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal"
                " ORDER BY schema_name, table_name, column_index"
            ).fetchall()
    yield "# Tables\n\nMade from a database to which the migrations were applied. Each dataset adds"
    yield "`silver.<source>_<dataset>[_<discriminator>]` and its `_history`, with the columns of its recipe."
    for schema, table, comment in tables:
        yield f"\n## {schema}.{table}\n\n{_cell(comment or '')}\n\n| column | type | meaning |\n| --- | --- | --- |"
        for s, t, name, kind, meaning in columns:
            if (s, t) == (schema, table):
                yield f"| `{name}` | {kind} | {_cell(meaning or '')} |"
