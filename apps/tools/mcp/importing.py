"""Brings the servers of an ``mcp.json`` into the database.

What the file does not mention stays as it is, servers as well as members. What is as the file has
it already is not touched: sessions with it go on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from apps.store.models import Configuration, McpServer, McpTool, Project
from apps.store.secrets import Secret
from apps.tools.mcp.mcp_json import COPIED, Entry, McpJsonError, Secrets, ToolEntry, parse


@dataclass(slots=True)
class Imported:
    """What became of the entries: labels, and remarks for whoever asked."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One sentence."""
        kinds = (("added", self.added), ("changed", self.changed), ("unchanged", self.unchanged))
        told = [f"{kind}: {', '.join(labels)}" for kind, labels in kinds if labels]
        text = "; ".join(told)
        return f"{text[:1].upper()}{text[1:]}." if told else "The file has no server to take over."


def from_environment(name: str) -> str | None:
    """For operators with a shell: placeholders are variables of their environment."""
    return os.environ.get(name)


def nothing(name: str) -> str | None:
    """For files from a browser: the environment of the server is none of its business."""
    return None


def import_file(file: str) -> Imported:
    """Take over the servers of this file, programs too; ``-`` is standard input. Placeholders are
    variables of the environment. Raises McpJsonError, NoEncryptionKey and SecretUnreadable."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise McpJsonError([f"It cannot be read: {exc}."]) from exc
    return apply(parse(text, lookup=from_environment), with_commands=True)


@transaction.atomic
def apply(entries: Sequence[Entry], *, with_commands: bool) -> Imported:
    """All entries, or none. ``with_commands`` admits stdio servers: without it they are left out,
    and a remark says so. Raises McpJsonError, NoEncryptionKey and SecretUnreadable."""
    done = Imported()
    for entry in entries:
        if entry.transport == "stdio" and not with_commands:
            done.remarks.append(
                f"{entry.label} was left out: stdio servers run commands, and are imported with "
                "`manage.py mcp import`."
            )
            continue
        _remark(done, entry)
        _apply(entry, done)
    return done


def _remark(done: Imported, entry: Entry) -> None:
    done.remarks += [f"{entry.label}: {what} was not taken over." for what in entry.ignored]
    if entry.missing:
        names = ", ".join(entry.missing)
        done.remarks.append(
            f"{entry.label}: secrets without a value ({names}) were left as they are."
        )


def _apply(entry: Entry, done: Imported) -> None:
    server = McpServer.objects.select_for_update().filter(label=entry.label).first()
    is_new = server is None
    server = server or McpServer(label=entry.label)
    differs = _connect(server, entry) | _restrict(server, entry)
    if is_new or differs:
        server.save()
    differs |= _admit(server, entry.gateway.projects) | _switch(server, entry)
    if differs:
        Configuration.bump()
    kind = done.added if is_new else done.changed if differs else done.unchanged
    kind.append(entry.label)


def _connect(server: McpServer, entry: Entry) -> bool:
    """How the server is reached, and with which secrets."""
    new: dict[str, object] = {
        "transport": entry.transport,
        "url": entry.url,
        "command": entry.command,
        "args": list(entry.args),
        "cwd": entry.cwd,
    }
    differs = _set(server, new)
    if entry.headers is not None:
        # What is stored is for the old place, should the server have moved.
        known = Secret() if "headers" in server.left_behind else server.headers
        differs |= _set_secret(server, "headers", _merged(entry.headers, known))
    if entry.transport == "stdio":
        differs |= _set_secret(server, "env", _merged(entry.env, server.env))
    for name in ("bearer_token", "oauth_client_secret"):
        if (value := getattr(entry, name)) is not None:
            differs |= _set_secret(server, name, Secret(value))
    return differs


def _merged(given: Secrets, stored: Secret) -> Secret:
    """The given values, and stored ones in the place of those that are missing."""
    known = stored.reveal_mapping() if None in given.values() else {}
    values = {name: known.get(name) if v is None else v for name, v in given.items()}
    return Secret.mapping({name: value for name, value in values.items() if value is not None})


def _restrict(server: McpServer, entry: Entry) -> bool:
    """What the server may be used for."""
    new: dict[str, object] = {
        "description": entry.description,
        "enabled": entry.enabled,
        "allowed_tools": entry.allowed_tools,
    } | {name: getattr(entry.gateway, name) for name in COPIED}
    approves = any(not switch.needs_approval for switch in entry.tools.values())
    if approves and entry.gateway.approval is None:
        new["approval"] = "per_tool"
    return _set(server, {name: value for name, value in new.items() if value is not None})


def _set(server: McpServer, values: dict[str, object]) -> bool:
    differing = {name for name, value in values.items() if getattr(server, name) != value}
    for name in differing:
        setattr(server, name, values[name])
    return bool(differing)


def _set_secret(server: McpServer, name: str, new: Secret) -> bool:
    """Compared by what they say: the same text is encrypted differently each time."""
    old: Secret = getattr(server, name)
    if old.reveal() == new.reveal():
        # Entered anew all the same: a stored one would not follow the server to another origin.
        setattr(server, name, new)
        return False
    setattr(server, name, new)
    return True


def _admit(server: McpServer, projects: list[str] | str | None) -> bool:
    """Which projects may use it."""
    if projects is None:
        return False
    wanted = set() if isinstance(projects, str) else set(projects)
    found = {project.slug: project for project in Project.objects.filter(slug__in=wanted)}
    if unknown := wanted - set(found):
        raise McpJsonError([f"{server.label}: there is no project {', '.join(sorted(unknown))}."])
    for_all = isinstance(projects, str)
    differs = server.every_project != for_all
    if differs:
        server.every_project = for_all
        server.save()
    if for_all or set(server.projects.values_list("slug", flat=True)) == wanted:
        return differs
    server.projects.set(found.values())
    return True


def _switch(server: McpServer, entry: Entry) -> bool:
    """Switches of tools, also of those that the server has not listed yet."""
    known = {tool.name: tool for tool in McpTool.objects.filter(server=server)}
    differs = [_switched(server, known.get(name), name, s) for name, s in entry.tools.items()]
    return any(differs)


def _switched(server: McpServer, tool: McpTool | None, name: str, switch: ToolEntry) -> bool:
    now = timezone.now()
    tool = tool or McpTool(server=server, name=name, seen_at=now, gone_at=now)
    wanted = (switch.enabled, switch.needs_approval)
    if not tool._state.adding and (tool.enabled, tool.needs_approval) == wanted:
        return False
    tool.enabled, tool.needs_approval = wanted
    tool.save()
    return True
