"""Renders the reference of all settings from their declarations, as the page in the docs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.conf import Setting, SettingsGroup

PAGE = Path("docs/reference/settings.md")
HEAD = """# Settings

<!-- Written by `manage.py settings_reference` from the declarations in the `conf.py` files. -->

All settings are environment variables. Each can be read from a file instead: `NAME_FILE` holds
the path. Use that for secrets, which are marked so. Lists are comma-separated; a switch is `true`
or `false`.
"""
TYPES = {str: "text", int: "integer", float: "number", bool: "switch", list: "list"}


def page_path() -> Path:
    path: Path = settings.BASE_DIR / PAGE
    return path


def render() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(group) for group in settings.SETTINGS_GROUPS)])


def section(group: type[SettingsGroup]) -> str:
    """One group; the first sentence of its docstring is the heading."""
    title, _, text = " ".join((group.__doc__ or group.__name__).split()).partition(".")
    intro = [text.strip(), ""] if text.strip() else []
    rows = [_row(setting) for setting in group.declared()]
    head = ["| name | type | default | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([f"## {title}", "", *intro, *head, *rows, ""])


def _row(setting: Setting[Any]) -> str:
    kind = TYPES[type(setting.default)]
    if setting.choices:
        kind = ", ".join(f"`{choice}`" for choice in setting.choices)
    name = f"`{setting.name}`"
    if setting.secret:
        name += f", `{setting.name}_FILE`"
        kind += ", secret"
    if setting.minimum is not None:
        kind += f", at least {setting.minimum:g}"
    return _cells([name, kind, _default(setting.default), setting.help])


def _default(value: object) -> str:
    text = ",".join(value) if isinstance(value, list) else value
    if text == "":
        return ""
    return f"`{text if isinstance(text, str) else json.dumps(text)}`"


def _cells(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
