"""Colours and type of the dashboard, light and dark.

Belongs here: the few colours and what each means, Streamlit's theme, and the style sheet of our own markup. Does not belong here: markup
(`markup`), charts (`charts`).

Each colour of the style sheet is a pair for light and dark, told apart by the browser; charts use one colour that stands on both.
"""

from __future__ import annotations

from typing import Final

from ops_pipeline.ops.worst import GRAVITY

COLOURS: Final = {
    "ok": "#2f9e6e",
    "promoted": "#2f9e6e",
    "stored": "#2f9e6e",
    "failed": "#d64545",
    "empty": "#d9a13b",
    "unchanged": "#98a2ae",
    "deferred": "#9b7ede",
    "not_in_plan": "#c06fb0",
    "asked": "#4c8dd6",
    "pending": "#4c8dd6",
    "unfinished": "#4c8dd6",
}
"""What a file or a run came to, and its colour in charts."""

STAGE_COLOURS: Final = {"bronze": "#b0763a", "silver": "#8d99a8", "gold": "#d4a72c"}
LINE, BAR = "#3f7fd0", "#8fa3bb"

STREAMLIT_THEME: Final[dict[str, object]] = {
    "theme.font": "sans-serif",
    "theme.baseFontSize": 15,
    "theme.baseRadius": "6px",
    "theme.showWidgetBorder": True,
    "theme.light.primaryColor": "#1d5fbf",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f6f9",
    "theme.light.textColor": "#1b2733",
    "theme.light.linkColor": "#1a56b0",
    "theme.light.borderColor": "#d5dce5",
    "theme.dark.primaryColor": "#79aef6",
    "theme.dark.backgroundColor": "#10161d",
    "theme.dark.secondaryBackgroundColor": "#18212b",
    "theme.dark.textColor": "#e3e9f0",
    "theme.dark.linkColor": "#82b4f5",
    "theme.dark.borderColor": "#2c3947",
}

# Text colours: at least 4.5 to 1 on their background, light and dark.
_TEXT: Final = {
    "ok": ("#136b46", "#6fd3a6"),
    "failed": ("#b42828", "#ff9a94"),
    "warn": ("#7d5600", "#eec06a"),
    "quiet": ("#55606d", "#a3b0be"),
    "busy": ("#1d57a5", "#8dbcf6"),
    "deferred": ("#5d3fa8", "#c3aef5"),
}
TONES: Final = {
    **dict.fromkeys(("ok", "promoted", "stored", "passed", "set"), "ok"),
    **dict.fromkeys(("failed", "stale", "missing"), "failed"),
    **dict.fromkeys(("empty", "late", "warning"), "warn"),
    **dict.fromkeys(("unchanged", "not set", "none"), "quiet"),
    **dict.fromkeys(("asked", "pending", "unfinished"), "busy"),
    **dict.fromkeys(("deferred", "not_in_plan"), "deferred"),
}
"""The tone in which a word is shown; a word without one is quiet."""


# Fills: these may be lighter than text, and say the same.
_FILLS: Final = GRAVITY


def _tones() -> str:
    return "\n".join(
        f".op-{tone} {{ color: light-dark({light}, {dark}); }}\n"
        f".op-badge.op-{tone} {{ background: color-mix(in srgb, light-dark({light}, {dark}) 12%, transparent); }}"
        for tone, (light, dark) in _TEXT.items()
    ) + "".join(f"\n.op-fill-{word} {{ color: {COLOURS[word]}; }}" for word in _FILLS)


STYLE: Final = f"""<style>
.stApp {{ --op-line: light-dark(#dfe5ec, #2a3644); --op-soft: light-dark(#f6f8fa, #161e27); --op-quiet: light-dark(#55606d, #a3b0be); }}
.stMain .block-container, .stMainBlockContainer {{ max-width: 1440px; padding: 4.2rem 2rem 3rem; }}
.stHtml a {{ color: light-dark(#1a56b0, #82b4f5); text-decoration: none; }}
.op-head p a, .op-note a, .stHtml a:hover, .stHtml a:focus-visible {{ text-decoration: underline; }}
.op-head {{ margin-bottom: 0.9rem; }}
.op-head h1 {{ font-size: 1.55rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; padding: 0; line-height: 1.25; }}
.op-head p {{ margin: 0.15rem 0 0; color: var(--op-quiet); }}
.op-h2 {{ font-size: 1.02rem; font-weight: 650; margin: 0.9rem 0 0.1rem; padding: 0; }}
.op-note {{ color: var(--op-quiet); margin: 0; font-size: 0.88rem; overflow-wrap: anywhere; }}
.op-note + .op-scroll, .op-note + .op-empty, .op-h2 + .op-scroll, .op-h2 + .op-empty, .op-scroll + .op-scroll {{ margin-top: 0.55rem; }}
.op-tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 0.6rem; }}
.op-tile {{ border: 1px solid var(--op-line); border-radius: 8px; padding: 0.6rem 0.8rem 0.65rem; min-width: 0; }}
.op-name, .op-detail {{ color: var(--op-quiet); font-size: 0.8rem; }}
.op-figure {{ font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; line-height: 1.4; }}
.op-scroll {{ overflow-x: auto; border: 1px solid var(--op-line); border-radius: 8px; }}
.op-table {{ border-collapse: collapse; width: 100%; font-size: 0.87rem; font-variant-numeric: tabular-nums; }}
.op-table th {{ text-align: left; font-weight: 600; color: var(--op-quiet); font-size: 0.78rem; background: var(--op-soft);
  white-space: nowrap; vertical-align: bottom; }}
.op-table th, .op-table td {{ padding: 0.36rem 0.65rem; border: 0; border-bottom: 1px solid var(--op-line); vertical-align: top; }}
.op-table tbody tr:last-child td {{ border-bottom: 0; }}
.op-table tbody tr:hover {{ background: var(--op-soft); }}
.op-table .op-num {{ text-align: right; white-space: nowrap; }}
.op-table .op-nowrap {{ white-space: nowrap; }}
.op-table .op-wide {{ min-width: 14rem; overflow-wrap: anywhere; }}
.op-table .op-code {{ overflow-wrap: normal; white-space: nowrap; }}
.op-nowrap {{ white-space: nowrap; }}
.op-badge {{ display: inline-block; padding: 0.02rem 0.5rem; border-radius: 99px; font-size: 0.8rem; font-weight: 600;
  white-space: nowrap; }}
.op-facts {{ border-collapse: collapse; font-size: 0.88rem; }}
.op-facts th, .op-facts td {{ border: 0; padding: 0.14rem 1rem 0.14rem 0; text-align: left; vertical-align: top; }}
.op-facts th {{ color: var(--op-quiet); font-weight: 400; }}
.op-facts td {{ overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
.op-year {{ display: grid; grid-auto-flow: column; grid-template-rows: 1.2rem repeat(7, 18px); grid-auto-columns: minmax(18px, 25px);
  gap: 2px; width: max-content; min-width: 100%; padding: 0.2rem 0.6rem 0.5rem; }}
.op-late {{ direction: rtl; }}
.op-late > * {{ direction: ltr; }}
.op-year > span {{ font-size: 0.72rem; color: var(--op-quiet); line-height: 18px; white-space: nowrap; }}
.op-year > i, .op-year > a {{ border-radius: 3px; background: var(--op-soft);
  display: flex; align-items: center; justify-content: center; }}
.op-year b {{ display: block; border-radius: 3px; background: currentColor; }}
.op-legend {{ display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.78rem; color: var(--op-quiet); padding: 0.4rem 0.6rem 0; }}
.op-legend b {{ display: inline-block; width: 10px; height: 10px; border-radius: 2px; background: currentColor; margin-right: 0.35rem; }}
.op-legend i {{ font-style: normal; color: var(--op-quiet); }}
.op-heat td {{ text-align: center; padding: 0; border: 2px solid transparent; background-clip: padding-box; }}
.op-heat td a, .op-heat td span {{ display: block; padding: 0.3rem 0.6rem; border-radius: 4px; white-space: nowrap; color: inherit; }}
.op-heat tbody th {{ background: none; color: inherit; font-weight: 500; font-size: 0.85rem; position: sticky; left: 0; }}
.op-heat td small {{ opacity: 0.85; }}
.op-empty {{ border: 1px dashed var(--op-line); border-radius: 8px; padding: 1.6rem 1.2rem; text-align: center; color: var(--op-quiet); }}
.op-empty strong {{ color: light-dark(#1b2733, #e3e9f0); display: block; margin-bottom: 0.3rem; }}
.op-empty code, .op-note code,
.op-code {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.85rem; background: var(--op-soft);
  color: inherit; padding: 0.1rem 0.4rem; border-radius: 4px; border: 1px solid var(--op-line); overflow-wrap: anywhere; }}
.op-text {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.8rem; line-height: 1.5; white-space: pre-wrap; margin: 0;
  overflow-wrap: anywhere; padding: 0.8rem; border: 1px solid var(--op-line); border-radius: 8px; background: var(--op-soft);
  max-height: 70vh; overflow: auto; color: inherit; }}
.op-tree {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.82rem; line-height: 1.6; border: 1px solid var(--op-line);
  border-radius: 8px; background: var(--op-soft); padding: 0.6rem 0.9rem; overflow-wrap: anywhere; }}
.op-tree details > div {{ padding-left: 1.1rem; border-left: 1px solid var(--op-line); margin-left: 0.28rem; }}
.op-tree summary {{ cursor: pointer; }}
.op-tree summary span, .op-tree b {{ font-weight: 400; color: var(--op-quiet); }}
{_tones()}
@media (max-width: 640px) {{
  .stMain .block-container, .stMainBlockContainer {{ padding: 4rem 0.9rem 2rem; }}
  .op-tiles {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }}
  .op-figure {{ font-size: 1.1rem; }}
  .st-key-filters .stColumn {{ min-width: calc(50% - 0.6rem) !important; flex: 1 1 calc(50% - 0.6rem) !important; width: auto !important; }}
}}
</style>"""
