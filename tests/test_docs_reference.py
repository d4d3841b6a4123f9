"""The reference pages say what the code does: each table is compared with its source."""

from __future__ import annotations

import re

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from apps.api.protocol.input_items import KINDS
from apps.api.protocol.params import CODES
from apps.api.protocol.requests import CreateResponse
from tests import markdown
from tests.gateway import Gateway
from tests.programs import ROOT

API = ROOT / "docs/reference/api.md"
COMMANDS = ROOT / "docs/reference/commands.md"
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "apps/api").rglob("*.py")
    if "demo" not in path.parts
}


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_endpoints(gateway: Gateway) -> None:
    """Also: the API describes itself over HTTP."""
    paths = gateway.http.get("/v1/openapi.json").json()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    rows = markdown.table(API, "Endpoints")
    listed = {words(cells[0])[0] for cells in rows if cells[1] == "yes"}
    assert listed - {"GET /health", "GET /ready", "GET /metrics"} == served
    assert gateway.http.get("/v1/docs").status_code == 200


def test_parameters() -> None:
    """The page knows every field, and which are refused."""
    rows = {
        words(cells[0])[0]: cells[1]
        for cells in markdown.table(API, "Parameters of a create request")
    }
    fields = CreateResponse.model_fields
    assert rows.keys() == fields.keys()
    restricted = {
        name
        for name, field in fields.items()
        if any(
            "_only" in getattr(getattr(m, "func", None), "__qualname__", "") for m in field.metadata
        )
    }
    assert {name for name, supported in rows.items() if supported == "refused"} == restricted


def test_input_items() -> None:
    rows = markdown.table(API, "Input items")
    assert {words(cells[0])[0] for cells in rows if cells[1] == "yes"} == {"message", *KINDS}


def test_events() -> None:
    protocol = "".join(text for path, text in SOURCES.items() if "protocol" in path.parts)
    emitted = set(re.findall(r'"(response\.[a-z_.]+)"', protocol)) | {"error"}
    assert {words(cells[0])[0] for cells in markdown.table(API, "Events")} == emitted


def test_error_codes() -> None:
    code = "".join(SOURCES.values())
    raised = set(re.findall(r'\bcode="([a-z_]+)"', code)) | CODES | codes_of_the_server()
    listed = {word for cells in markdown.table(API, "Errors") for word in words(cells[1])}
    assert raised <= listed


def codes_of_the_server() -> set[str]:
    """What is refused before it reaches the application: a status or its line, then the code."""
    server = "".join(path.read_text() for path in (ROOT / "responses_gateway").glob("*.py"))
    found = set(re.findall(r'(?:answer_error|refuse)\(\s*b?"?\d{3}[^,]*, "([a-z_]+)"', server))
    assert "request_too_large" in found
    return found


def test_commands_and_their_options() -> None:
    page = markdown.text_of(COMMANDS)
    common = options(BaseCommand())
    ours = {name: app for name, app in get_commands().items() if str(app).startswith("apps.")}
    for name, app in ours.items():
        section = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        for option in options(load_command_class(str(app), name)) - common:
            assert f"`{option}`" in section or f"[{option}" in section, f"{name} {option}"


def options(command: BaseCommand) -> set[str]:
    parser = command.create_parser("manage.py", "name")
    return {option for action in parser._actions for option in action.option_strings}
