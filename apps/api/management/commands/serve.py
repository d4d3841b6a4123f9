"""Runs the gateway: prepares the data folder and the database, then supervises the processes."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from apps import metering
from apps.api.checks import is_server_url
from apps.api.conf import conf
from apps.api.management import first_start, sandbox_worker, vllm
from apps.api.management.announcement import announcement, is_loopback, local_url
from apps.api.management.background_check import check_models
from apps.api.management.listening import CannotListenError, free_port, listen
from apps.api.management.mcp_config import import_mcp
from apps.api.management.numbers import numbers_folder
from apps.api.management.running import upstream_told
from apps.api.management.supervisor import Helper, OwnUpstream, Plan, Supervisor
from apps.api.management.terminal import Terminal
from apps.api.upstream.client import base_url
from apps.store import schema
from apps.store.db import in_thread
from apps.tools.code_interpreter.configuration import sandbox_is_missing
from apps.tools.code_interpreter.setup import hosts_sandboxes, runs_on_workers
from apps.tools.host import wanted_services

NO_UPSTREAM = """There is no upstream. Give one of
  --upstream URL     a running vLLM server (or set GATEWAY_UPSTREAM_URL)
  --vllm MODEL       starts vLLM with this model
  --demo             a rule-based stand-in, to look around without a GPU"""


class Command(BaseCommand):
    help = "Run the gateway in front of a vLLM server."
    requires_system_checks: list[str] = []  # they run once the first start has made the secrets

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
        parser.add_argument("--port", type=int, default=5969, help="Default: 5969.")
        parser.add_argument("--processes", type=int, default=1, help="Server processes.")
        parser.add_argument(
            "--drain-timeout",
            type=float,
            metavar="SECONDS",
            help="How long running responses may go on when it is stopped.",
        )
        upstream = parser.add_mutually_exclusive_group()
        upstream.add_argument("--upstream", metavar="URL", help="vLLM's URL, with or without /v1.")
        upstream.add_argument("--demo", action="store_true", help="Use the built-in demo model.")
        upstream.add_argument("--vllm", metavar="MODEL", help="Start vLLM with this model.")
        parser.add_argument(
            "--upstream-timeout",
            type=float,
            default=1800,
            metavar="SECONDS",
            help="How long to wait for the upstream at start.",
        )
        parser.add_argument("--upstream-interval", type=float, default=2, metavar="SECONDS")
        parser.add_argument(
            "--mcp-config", metavar="FILE", help="Take over the MCP servers of an mcp.json first."
        )
        parser.add_argument(
            "--with-worker", action="store_true", help="Run a sandbox worker here (needs a broker)."
        )
        parser.add_argument(
            "vllm_flags", nargs="*", metavar="-- FLAGS", help="Flags for vLLM, with --vllm."
        )

    def handle(self, **options: Any) -> None:
        self.terminal = Terminal(self.stdout, self.stderr)
        self.validate(options)
        url, key, upstream = self.upstream(options)
        try:
            listening = listen(options["host"], options["port"])
        except CannotListenError as exc:
            raise CommandError(str(exc)) from exc
        with listening, ExitStack() as stack:
            port = listening.getsockname()[1]
            # For the checks, and for the questions to the models.
            settings.GATEWAY_UPSTREAM_URL, settings.GATEWAY_UPSTREAM_API_KEY = url, key
            self.prepare(options["mcp_config"])
            numbers = stack.enter_context(numbers_folder(settings.DATA_DIR))
            stack.enter_context(upstream_told(settings.DATA_DIR, url))
            local = local_url(options["host"], port)
            env = self.environment(options, url, key, local)
            plan = Plan(
                listening=listening,
                processes=options["processes"],
                env=env | {metering.SHARED: str(numbers)},
                numbers=numbers,
                local_url=local,
                drain_timeout=self.drain_timeout(options),
                upstream_url=url,
                upstream_key=key,
                upstream_timeout=options["upstream_timeout"],
                upstream_interval=options["upstream_interval"],
                upstream=upstream,
                helpers=self.helpers(env, with_worker=options["with_worker"]),
                runs_code=hosts_sandboxes() and (options["with_worker"] or not runs_on_workers()),
            )
            status = asyncio.run(self.supervise(plan, options["host"], port, options["demo"]))
        if status:
            sys.exit(status)

    async def supervise(self, plan: Plan, host: str, port: int, demo: bool) -> int:
        async def announce(models: list[str]) -> str:
            return await in_thread(announcement, host, port, models, demo=demo)

        async def afterwards() -> None:
            await check_models(self.terminal.line)

        # The demo's rules can do all that is asked, which says nothing about any model.
        supervisor = Supervisor(plan, self.terminal, announce, None if demo else afterwards)
        return await supervisor.run()

    def validate(self, options: dict[str, Any]) -> None:
        if options["vllm_flags"] and not options["vllm"]:
            raise CommandError(
                f"{vllm.shown(options['vllm_flags'])} is for vLLM: give --vllm MODEL."
            )
        if options["with_worker"] and (text := sandbox_worker.problem()):
            raise CommandError(f"--with-worker: {text}")
        if options["processes"] < 1:
            raise CommandError("--processes: at least 1.")
        if options["upstream_interval"] <= 0:
            raise CommandError("--upstream-interval: more than 0.")

    def prepare(self, mcp_config: str | None) -> None:
        """Make what the first start needs, and bring the database up to date."""
        say = self.terminal.line
        try:
            first_start.ensure_secrets(say)
            self.check()
            schema.migrate(say)
            first_start.ensure_superuser(say)
            if mcp_config:
                import_mcp(mcp_config, say)
            self.prepare_sandbox()
        except (first_start.FirstStartError, schema.SchemaError) as exc:
            raise CommandError(str(exc)) from exc
        finally:
            connection.close()
            if connection.vendor == "postgresql":
                # Its threads have to be gone before children are forked.
                connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's

    def prepare_sandbox(self) -> None:
        """Fetch what code runs in, once. Without it, the gateway serves all the rest."""
        if not sandbox_is_missing():
            return
        self.terminal.line("Code interpreter: fetching its sandbox, once.")
        try:
            call_command("sandbox", "install", stdout=self.stdout, stderr=self.stderr)
        except CommandError as exc:
            self.terminal.line(f"Without code_interpreter: {exc}")
            self.terminal.line(
                "`manage.py sandbox install` tries again; GATEWAY_SANDBOX=off stops it."
            )

    # -- upstream ----------------------------------------------------------------------------------

    def upstream(self, options: dict[str, Any]) -> tuple[str, str, OwnUpstream | None]:
        """Its URL, the key for it, and the process to start if it is ours."""
        if options["demo"]:
            return self.demo()
        if options["vllm"]:
            return self.vllm(options["vllm"], options["vllm_flags"])
        url = options["upstream"] or conf.UPSTREAM_URL
        if not url:
            raise CommandError(NO_UPSTREAM)
        if not is_server_url(url):
            raise CommandError(f"--upstream: {url!r} is not a URL such as http://127.0.0.1:8000.")
        return base_url(url), conf.UPSTREAM_API_KEY, None

    def demo(self) -> tuple[str, str, OwnUpstream]:
        port = free_port()
        program = [sys.executable, "-m", "apps.api.upstream.demo"]
        command = [*program, "--host", "127.0.0.1", "--port", str(port)]
        own = OwnUpstream(label="demo", command=command, env=environment({}))
        return f"http://127.0.0.1:{port}/v1", "", own

    def vllm(self, model: str, flags: list[str]) -> tuple[str, str, OwnUpstream]:
        port = int(vllm.flag_value(flags, "--port") or free_port())
        key = vllm.flag_value(flags, "--api-key") or conf.UPSTREAM_API_KEY
        command = vllm.command(conf.VLLM_COMMAND, model, port=port, given=flags)
        self.terminal.line(f"Starting {vllm.shown(command)}")
        if "--tool-call-parser" not in command:
            self.terminal.line(
                f"No tool parser is known for {model}: vLLM will refuse requests with tools, "
                "unless you add `-- --tool-call-parser NAME`."
            )
        env = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"VLLM_API_KEY": key} if key else {})
        return (
            f"http://127.0.0.1:{port}/v1",
            key,
            OwnUpstream(label="vllm", command=command, env=env),
        )

    # -- helpers -----------------------------------------------------------------------------------

    def helpers(self, env: dict[str, str], *, with_worker: bool) -> list[Helper]:
        found = []
        if wanted_services():
            command = [sys.executable, "-m", "responses_gateway", "toolhost"]
            found.append(Helper(label="tool host", command=command, env=env))
        if with_worker:
            own = sandbox_worker.environment(env)
            found.append(Helper(label="sandbox worker", command=sandbox_worker.COMMAND, env=own))
        return found

    # -- server processes --------------------------------------------------------------------------

    def drain_timeout(self, options: dict[str, Any]) -> float:
        given: float | None = options["drain_timeout"]
        return conf.DRAIN_TIMEOUT if given is None else given

    def environment(
        self, options: dict[str, Any], url: str, key: str, local: str
    ) -> dict[str, str]:
        """What the server processes cannot read from the environment of this one."""
        public = conf.PUBLIC_URL or (local if is_loopback(options["host"]) else "")
        return environment(
            {
                "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
                "GATEWAY_DATA_DIR": str(settings.DATA_DIR),
                "GATEWAY_UPSTREAM_URL": url,
                "GATEWAY_UPSTREAM_API_KEY": key,
                "GATEWAY_DRAIN_TIMEOUT": str(self.drain_timeout(options)),
                "GATEWAY_INTERNAL_URL": os.environ.get("GATEWAY_INTERNAL_URL", local),
                "GATEWAY_PUBLIC_URL": public,
            }
        )


def environment(more: dict[str, str]) -> dict[str, str]:
    """Our environment for a child that has to find our modules and to write line by line."""
    paths = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    return os.environ | own | more
