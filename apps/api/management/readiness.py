"""Waits until the upstream and the gateway itself answer. Plain probes, outside any request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx

T = TypeVar("T")

GATEWAY_LIMIT = 60.0
CODE_LIMIT = 20.0
PROBE_LIMIT = 10.0
FIRST_INTERVAL = 0.1
"""Seconds between probes, without a word, until the first interval is over."""

Progress = Callable[[str, str], None]


class NotReadyError(Exception):
    """What was waited for did not come, or never will; the message says why."""


class NotYet(Exception):
    """The reason why one probe failed."""


async def upstream_models(
    url: str, *, key: str, health: bool, limit: float, interval: float, progress: Progress
) -> list[str]:
    """Wait for the upstream; the names of the models that it serves.

    ``url`` ends in /v1. With ``health``, vLLM's own /health has to agree first.
    """
    headers = {"authorization": f"Bearer {key}"} if key else {}

    async def probe(client: httpx.AsyncClient) -> list[str]:
        if health:
            await _get(client, url.removesuffix("/v1") + "/health", headers)
        return _names(await _get(client, f"{url}/models", headers))

    return await _until(probe, f"the upstream {url}", limit, interval, progress)


async def gateway_health(url: str, *, interval: float, progress: Progress) -> None:
    """Wait until one of our own processes answers."""

    async def probe(client: httpx.AsyncClient) -> bool:
        await _get(client, f"{url}/health", {})
        return True

    await _until(probe, "the gateway's own processes", GATEWAY_LIMIT, interval, progress)


async def code(url: str, *, interval: float, progress: Progress) -> None:
    """Wait until something runs code. Raises NotReadyError when nothing does, without which the
    rest works."""

    async def probe(client: httpx.AsyncClient) -> bool:
        try:
            told = (await client.get(f"{url}/ready")).json()["code_interpreter"]
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            raise NotYet(str(exc) or type(exc).__name__) from exc
        if not isinstance(told, list):
            raise NotYet(str(told))
        return True

    await _until(probe, "what runs code", CODE_LIMIT, interval, progress)


async def _until(
    probe: Callable[[httpx.AsyncClient], Awaitable[T]],
    what: str,
    limit: float,
    interval: float,
    progress: Progress,
) -> T:
    started = time.monotonic()
    async with httpx.AsyncClient(timeout=PROBE_LIMIT, trust_env=False) as client:
        while True:
            try:
                return await probe(client)
            except NotYet as exc:
                elapsed = time.monotonic() - started
                if elapsed >= limit:
                    raise NotReadyError(f"Gave up on {what} after {elapsed:.0f} s: {exc}.") from exc
                if elapsed >= interval:
                    progress(f"Waiting for {what}: {exc}", f" ({elapsed:.0f} s)")
                pause = interval if elapsed >= interval else min(interval, FIRST_INTERVAL)
                await asyncio.sleep(min(pause, limit - elapsed))


async def _get(client: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> httpx.Response:
    try:
        answer = await client.get(url, headers=headers)
    except httpx.TimeoutException as exc:
        raise NotYet("no answer in time") from exc
    except httpx.ConnectError as exc:
        raise NotYet(f"cannot connect: {exc}") from exc
    except httpx.HTTPError as exc:
        raise NotYet(str(exc) or type(exc).__name__) from exc
    if answer.status_code in {401, 403}:
        # Waiting longer does not help.
        raise NotReadyError(
            f"{url} refuses the key (HTTP {answer.status_code}). Set GATEWAY_UPSTREAM_API_KEY to "
            "one that the upstream accepts."
        )
    if not answer.is_success:
        raise NotYet(f"{url} answers with HTTP {answer.status_code}")
    return answer


def _names(answer: httpx.Response) -> list[str]:
    """Ids of a model list; whatever else came counts as a list of none."""
    try:
        return [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, TypeError, KeyError):
        return []
