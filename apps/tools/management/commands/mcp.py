"""MCP servers on the command line: what the admin does, and the import of programs, which needs a
shell on the machine anyway."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync  # noqa: TID251 - a command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.store import mcp_servers
from apps.store.encryption import NoEncryptionKey
from apps.store.mcp_servers import ServerSpec
from apps.store.models import McpServer
from apps.store.secrets import SecretUnreadable
from apps.tools.mcp import importing, mcp_json
from apps.tools.mcp.asking import ask


class Command(BaseCommand):
    help = "List, test, import and export MCP servers."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("list", help="The servers, and how they did of late.")
        for name, text in (
            ("test", "Connect to servers and list their tools; keeps no list."),
            ("refresh", "Connect to servers and keep the list of their tools."),
        ):
            action = actions.add_parser(name, help=text)
            action.add_argument("labels", nargs="*", metavar="LABEL", help="Default: all enabled.")
        action = actions.add_parser("import", help="Take over the servers of an mcp.json.")
        action.add_argument("file", metavar="FILE", help="Its path; - for standard input.")
        action = actions.add_parser("export", help="Print all servers as an mcp.json.")
        action.add_argument(
            "--secrets", action="store_true", help="Print secrets too, instead of placeholders."
        )

    def handle(self, **options: Any) -> None:
        try:
            match options["action"]:
                case "list":
                    self.show()
                case "import":
                    self.take_over(options["file"])
                case "export":
                    self.export(secrets=options["secrets"])
                case action:
                    self.ask(options["labels"], refresh=action == "refresh")
        except (SecretUnreadable, NoEncryptionKey) as exc:
            raise CommandError(str(exc)) from exc

    def show(self) -> None:
        servers = McpServer.objects.select_related("health").prefetch_related("projects")
        if not servers:
            self.stdout.write("There are no MCP servers.")
        for server in servers:
            state = "enabled" if server.enabled else "disabled"
            health = getattr(server, "health", None)
            did = "never asked"
            if health is not None and health.last_success_at:
                did = f"answered {health.last_success_at:%Y-%m-%d %H:%M}Z"
            whose = ", ".join(project.slug for project in server.projects.all()) or "no project"
            self.stdout.write(
                f"{server.label}\t{server.transport}\t{server.url or server.command}\t{state}\t"
                f"{'all projects' if server.every_project else whose}\t{did}"
            )

    def ask(self, labels: list[str], *, refresh: bool) -> None:
        specs = _chosen(labels)
        failures = 0
        for spec, probe in zip(specs, async_to_sync(ask)(specs), strict=True):
            changed = probe.keep(spec.id, tools=refresh)
            failures += bool(probe.error)
            if probe.error:
                self.stdout.write(self.style.ERROR(f"{spec.label}: {probe.error}"))
                continue
            news = ", the list has changed" if changed else ""
            self.stdout.write(
                f"{spec.label}: {len(probe.tools)} tools, {probe.latency_ms} ms{news}"
            )
        if failures:
            raise CommandError(f"{failures} of {len(specs)} servers did not answer as they should.")

    def take_over(self, file: str) -> None:
        try:
            done = importing.import_file(file)
        except mcp_json.McpJsonError as exc:
            raise CommandError(f"{file}:\n  " + "\n  ".join(exc.problems)) from exc
        for remark in done.remarks:
            self.stderr.write(self.style.WARNING(remark))
        self.stdout.write(done.summary)

    def export(self, *, secrets: bool) -> None:
        servers = McpServer.objects.prefetch_related("projects", "tools")
        self.stdout.write(mcp_json.dump(servers, secrets=secrets), ending="")


def _chosen(labels: list[str]) -> list[ServerSpec]:
    if not labels:
        return mcp_servers.enabled_servers()
    rows = {server.label: server for server in McpServer.objects.filter(label__in=labels)}
    if unknown := [label for label in labels if label not in rows]:
        raise CommandError(f"There is no MCP server {', '.join(unknown)}.")
    return [mcp_servers.spec(rows[label]) for label in labels]
