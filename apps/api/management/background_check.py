"""What ``serve`` does once all is ready: asks what the models can do, and remembers it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from apps.api.management.diagnosis import State, of_model
from apps.api.upstream.capabilities import Survey, survey
from apps.api.upstream.client import close_http_client
from apps.api.upstream.errors import UpstreamError
from apps.store.capabilities import remember
from apps.store.db import in_writer
from apps.store.errors import StoreUnavailable

log = structlog.stdlib.get_logger(__name__)


async def check_models(say: Callable[[str], None]) -> None:
    """Say what works and what does not. Raises nothing: the gateway serves without this, too."""
    try:
        found = await survey()
        await in_writer(remember, found.models, upstream_version=found.version)
    except (UpstreamError, StoreUnavailable) as exc:
        say(f"What the models can do could not be checked: {exc}")
    except Exception:
        log.exception("models not checked")
    else:
        for line in _lines(found):
            say(line)
    finally:
        await close_http_client()


def _lines(found: Survey) -> list[str]:
    lines = []
    for model, findings in found.models.items():
        checks = [of_model(model, finding) for finding in findings]
        works = [finding.capability for finding in findings if finding.works]
        if works:
            lines.append(f"Model {model}: ok for {', '.join(works)}.")
        lines += [f"Model {c.name}: {c.text}" for c in checks if c.state is State.FAULT]
    return lines
