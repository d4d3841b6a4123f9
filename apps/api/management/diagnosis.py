"""What ``doctor`` finds: for everything that the gateway needs, whether it is there, or what to do.

Each examination gives its findings and raises nothing: what is broken is what it is for.
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

from apps.api.checks import check_keys, is_server_url
from apps.api.conf import conf
from apps.api.engine.dependencies import (
    DependencyDown,
    has_broker,
    has_redis,
    ping_broker,
    ping_database,
    ping_redis,
)
from apps.api.management import vllm
from apps.api.upstream.capabilities import Capability, Finding, Survey, survey
from apps.api.upstream.client import base_url, close_http_client
from apps.api.upstream.errors import UpstreamError
from apps.store import schema


class State(StrEnum):
    OK = "ok"
    UNKNOWN = "-"  #: not used, or it cannot be told
    FAULT = "fault"


class Check(NamedTuple):
    """One line. ``text`` tells the facts or, for a fault, what to do."""

    name: str
    state: State
    text: str


def database() -> Check:
    """Whether it answers, and has the schema of this code."""
    try:
        ping_database()
        newer, pending = schema.unknown(), schema.pending()
    except (DatabaseError, ImproperlyConfigured) as exc:
        advice = (
            "`manage.py serve` makes it" if connection.vendor == "sqlite" else "See that it runs"
        )
        return _fault("database", f"{_where()}: {_reason(exc)}. {advice}, or check DATABASE_URL.")
    if newer:
        names = ", ".join(newer)
        return _fault(
            "database", f"A newer version of the gateway has changed it ({names}): run that."
        )
    if pending:
        plural = "migration is" if pending == 1 else "migrations are"
        return _fault(
            "database", f"{_where()}: {pending} {plural} not applied. Run `manage.py migrate`."
        )
    return Check("database", State.OK, f"{_where()}, schema up to date")


def _where() -> str:
    """Which database it is, without its password."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"SQLite {config['NAME']}"
    return f"{connection.display_name} {config['NAME']} at {config['HOST'] or 'the local socket'}"


def keys() -> Check:
    """The secrets without which sessions end early and nothing can be sealed."""
    hint = "Run `manage.py serve`, which writes it, or set"
    if connection.vendor == "postgresql":
        hint = "Give all processes the same:"
    if settings.GATEWAY_SECRET_KEY_IS_TEMPORARY:
        return _fault("keys", f"There is no secret key. {hint} GATEWAY_SECRET_KEY.")
    if not settings.GATEWAY_ENCRYPTION_KEYS:
        return _fault("keys", f"There is no encryption key. {hint} GATEWAY_ENCRYPTION_KEYS.")
    for problem in check_keys():
        return _fault("keys", f"{problem.msg} {problem.hint}")
    count = len(settings.GATEWAY_ENCRYPTION_KEYS)
    return Check("keys", State.OK, f"secret key, {count} encryption key{'s' if count > 1 else ''}")


def configuration() -> list[Check]:
    """What Django's system checks say of the settings; the keys have a line of their own."""
    told = [problem for problem in run_checks() if problem not in check_keys()]
    return [
        Check(
            "settings",
            State.FAULT if problem.is_serious() else State.UNKNOWN,
            " ".join(filter(None, [problem.msg, problem.hint])),
        )
        for problem in told
    ] or [Check("settings", State.OK, "no complaints")]


def redis() -> Check:
    if not has_redis():
        return Check("redis", State.UNKNOWN, "not configured (REDIS_URL)")
    try:
        ping_redis()
    except DependencyDown as exc:
        return _fault("redis", f"{_reason(exc)}. Check REDIS_URL and the server.")
    return Check("redis", State.OK, "it answers")


def broker() -> Check:
    if not has_broker():
        return Check("broker", State.UNKNOWN, "not configured (CELERY_BROKER_URL or REDIS_URL)")
    try:
        ping_broker()
    except DependencyDown as exc:
        return _fault("broker", f"{_reason(exc)}. Check CELERY_BROKER_URL and the server.")
    return Check("broker", State.OK, "it answers")


# --- Upstream -------------------------------------------------------------------------------------


async def upstream() -> tuple[list[Check], Survey | None]:
    """The server, its models, and what each of them can do."""
    if not conf.UPSTREAM_URL:
        advice = (
            "None is configured here, and no `serve` runs here whose own could be asked. Start it, "
            "set GATEWAY_UPSTREAM_URL, or give --upstream URL."
        )
        return [_fault("upstream", advice)], None
    if not is_server_url(conf.UPSTREAM_URL):
        advice = f"{conf.UPSTREAM_URL!r} is not a URL such as http://127.0.0.1:8000."
        return [_fault("upstream", advice)], None
    url = base_url(conf.UPSTREAM_URL)
    try:
        found = await survey()
    except UpstreamError as exc:
        return [_fault("upstream", f"{url}: {exc} {_advice(exc)}")], None
    finally:
        await close_http_client()
    server = Check("upstream", State.OK, f"{url}, {_version(found.version)}")
    checks = [server, _models(list(found.models))]
    for model, findings in found.models.items():
        checks += [of_model(model, finding) for finding in findings]
    return checks, found


def _advice(exc: UpstreamError) -> str:
    if exc.status in (401, 403):
        return "Set GATEWAY_UPSTREAM_API_KEY to a key that it accepts."
    return "Check that vLLM runs, and GATEWAY_UPSTREAM_URL."


def _version(version: str) -> str:
    if not version:
        return "which does not tell its version: is it vLLM?"
    tested = version.split("+")[0] in vllm.TESTED
    return f"vLLM {version}" + ("" if tested else f" (tested with {', '.join(vllm.TESTED)})")


def _models(names: list[str]) -> Check:
    if not names:
        return _fault("models", "The upstream serves none.")
    if conf.DEFAULT_MODEL and conf.DEFAULT_MODEL not in names:
        served = ", ".join(names)
        advice = (
            f"{conf.DEFAULT_MODEL!r} is not served; it has {served}. Set GATEWAY_DEFAULT_MODEL."
        )
        return _fault("models", advice)
    return Check("models", State.OK, ", ".join(names))


def of_model(model: str, finding: Finding) -> Check:
    """One capability of one model. What its family needs is named where it is missing."""
    name = f"{model}: {finding.capability}"
    if finding.works:
        return Check(name, State.OK, "works")
    if finding.works is None:
        return Check(name, State.UNKNOWN, finding.detail)
    if finding.capability is Capability.IMAGES:
        return Check(name, State.OK, "text only: it is told of images that tools return in words")
    flags = vllm.parser_flags(model, ())
    parsers = finding.capability in (Capability.TOOLS, Capability.REASONING)
    known = f" Going by its name: {shlex.join(flags)}." if parsers and flags else ""
    return _fault(name, finding.detail + known)


def _reason(exc: Exception) -> str:
    """Its words in one line, without a full stop."""
    return " ".join(str(exc).split()).rstrip(".") or type(exc).__name__


def _fault(name: str, text: str) -> Check:
    return Check(name, State.FAULT, text)
