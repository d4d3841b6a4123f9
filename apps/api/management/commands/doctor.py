"""Says of everything that the gateway needs whether it is there, or what to do."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from apps.api.conf import conf
from apps.api.management import diagnosis
from apps.api.management.code_diagnosis import code_interpreter
from apps.api.management.diagnosis import Check, State
from apps.api.management.mcp_diagnosis import mcp_servers
from apps.api.management.running import upstream_of_running
from apps.api.upstream.capabilities import Survey
from apps.store.capabilities import remember


class Command(BaseCommand):
    help = "Check everything that the gateway needs. Exits with 1 when something is to be done."
    requires_system_checks: list[str] = []  # they are among what it reports

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Write one JSON object.")
        parser.add_argument(
            "--upstream",
            metavar="URL",
            help="Default: GATEWAY_UPSTREAM_URL, or that of the `serve` that runs on this data folder.",
        )

    def handle(self, **options: Any) -> None:
        of_serve = upstream_of_running(settings.DATA_DIR)
        settings.GATEWAY_UPSTREAM_URL = options["upstream"] or conf.UPSTREAM_URL or of_serve or ""
        # A pool would wait instead of telling why the database does not answer.
        connection.settings_dict["OPTIONS"].pop("pool", None)
        database = diagnosis.database()
        checks = [
            database,
            diagnosis.keys(),
            *diagnosis.configuration(),
            diagnosis.redis(),
            diagnosis.broker(),
        ]
        if database.state is State.OK:
            checks += mcp_servers()
        checks += code_interpreter()
        found, survey = asyncio.run(diagnosis.upstream())
        checks += found
        if survey is not None and database.state is State.OK:
            remember(survey.models, upstream_version=survey.version)
        self.stdout.write(as_json(checks, survey) if options["json"] else as_lines(checks))
        if any(check.state is State.FAULT for check in checks):
            sys.exit(1)


def as_lines(checks: list[Check]) -> str:
    width = max(len(check.name) for check in checks)
    return "\n".join(f"{check.state:<5}  {check.name:<{width}}  {check.text}" for check in checks)


def as_json(checks: list[Check], survey: Survey | None) -> str:
    return json.dumps(
        {
            "ok": all(check.state is not State.FAULT for check in checks),
            "checks": [check._asdict() for check in checks],
            "upstream_version": survey.version if survey else None,
            "models": [
                {"model": model, **finding._asdict()}
                for model, found in (survey.models if survey else {}).items()
                for finding in found
            ],
        },
        indent=2,
    )
