"""Writes down what requests did with MCP servers: calls and approvals.

Plain functions, each one transaction: asynchronous callers pass them to ``apps.store.db``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from apps.store.batches import erase
from apps.store.conf import conf
from apps.store.models import McpApproval, McpCall
from apps.store.models.mcp_record import APPROVED, DENIED

LONGEST_ARGUMENTS = 20_000
LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """On whose behalf. ``kept`` is False for ``store: false``: no payload is written down."""

    project_id: int
    key_id: int | None
    response_id: str
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRecord:
    """A call that needs the client's approval. ``server_id`` as in CallRecord."""

    request_id: str
    server_id: int | None
    label: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call that ended. ``server_id`` is None for a server that the request declared itself;
    ``outcome`` is ``ok``, ``cancelled`` or the kind of the failure; ``arguments`` is JSON text."""

    who: Who
    server_id: int | None
    label: str
    tool: str
    item_id: str
    arguments: str
    outcome: str
    error: str = ""
    started_at: datetime
    duration_ms: int


def log_calls(records: Sequence[CallRecord]) -> None:
    """One statement for all of them."""
    McpCall.objects.bulk_create(
        [
            McpCall(
                server_id=record.server_id,
                label=record.label[:255],
                tool=_text(record.tool, 255),
                project_id=record.who.project_id,
                api_key_id=record.who.key_id,
                response_id=record.who.response_id,
                item_id=record.item_id,
                arguments=_payload(record.who, record.arguments, LONGEST_ARGUMENTS),
                outcome=record.outcome,
                error=_payload(record.who, record.error, LONGEST_TEXT),
                started_at=record.started_at,
                duration_ms=record.duration_ms,
            )
            for record in records
        ]
    )


def log_call(record: CallRecord) -> None:
    """One statement."""
    log_calls([record])


def record_approval_request(who: Who, asked: ApprovalRecord) -> None:
    """A client was asked to approve a call. Asked twice, it counts once."""
    _row(who, asked)


@transaction.atomic
def record_decision(who: Who, asked: ApprovalRecord, *, approve: bool, reason: str = "") -> None:
    """What the client said. The first word counts; a request that is not known yet, since the
    client carries the items itself, is written down with it."""
    McpApproval.objects.filter(pk=_row(who, asked), decision="").update(
        decision=APPROVED if approve else DENIED,
        reason=_payload(who, reason, LONGEST_TEXT),
        decided_at=timezone.now(),
        decided_by=who.response_id,
    )


@transaction.atomic
def use_approval(who: Who, asked: ApprovalRecord, *, reason: str) -> str:
    """Take an approval for the one call that it is good for. Gives the response that had it
    before; empty when nobody had. Whatever else was said of the request, this is what counts."""
    pk = _row(who, asked)
    taken = McpApproval.objects.filter(pk=pk, used_by="").update(
        used_by=who.response_id,
        decision=APPROVED,
        reason=_payload(who, reason, LONGEST_TEXT),
        decided_at=timezone.now(),
        decided_by=who.response_id,
    )
    if taken:
        return ""
    user: str = McpApproval.objects.values_list("used_by", flat=True).get(pk=pk)
    return user


def _row(who: Who, asked: ApprovalRecord) -> int:
    row, _ = McpApproval.objects.get_or_create(
        project_id=who.project_id,
        request_id=asked.request_id,
        defaults={
            "api_key_id": who.key_id,
            "server_id": asked.server_id,
            "label": asked.label[:255],
            "tool": _text(asked.tool, 255),
            "response_id": who.response_id,
            "arguments": _payload(who, asked.arguments, LONGEST_ARGUMENTS),
            "requested_at": timezone.now(),
        },
    )
    return row.pk


def _payload(who: Who, text: str, limit: int) -> str:
    return _text(text, limit) if who.kept else ""


def _text(text: str, limit: int) -> str:
    text = text.replace("\0", "")  # PostgreSQL cannot keep it
    return text if len(text) <= limit else text[: limit - 1] + "…"


def forget(response_id: str) -> None:
    """Erase the payload of what a deleted response did, asked and decided; that it did stays."""
    McpCall.objects.filter(response_id=response_id).update(arguments="", error="")
    McpApproval.objects.filter(response_id=response_id).update(arguments="", reason="")
    McpApproval.objects.filter(decided_by=response_id).update(reason="")


def purge_records(*, dry_run: bool = False) -> int:
    """Delete calls and approvals older than GATEWAY_MCP_LOG_DAYS; how many there were."""
    if not conf.MCP_LOG_DAYS:
        return 0
    oldest = timezone.now() - timedelta(days=conf.MCP_LOG_DAYS)
    calls = McpCall.objects.filter(started_at__lt=oldest)
    approvals = McpApproval.objects.filter(requested_at__lt=oldest)
    return sum(erase(rows, dry_run=dry_run) for rows in (calls, approvals))
