"""What is waited for before the gateway says that it is ready."""

from __future__ import annotations

import asyncio
import json

import pytest

from apps.api.management import readiness
from tests.web import Page, Web


def ready(told: object) -> dict[str, Page]:
    body = json.dumps({"status": "unavailable", "code_interpreter": told}).encode()
    return {"/ready": Page(body, "application/json", status=503)}


def test_it_waits_for_what_runs_code() -> None:
    said: list[str] = []

    with Web(ready("The tool host does not run.")) as web:

        def progress(text: str, elapsed: str) -> None:
            said.append(text)
            web.pages = ready([{"usable": True}])

        asyncio.run(readiness.code(web.url(""), interval=0.01, progress=progress))
    assert said == ["Waiting for what runs code: The tool host does not run."]


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CODE_LIMIT", 0.1)
    with (
        Web(ready("No sandbox worker is alive.")) as web,
        pytest.raises(readiness.NotReadyError, match="No sandbox worker is alive"),
    ):
        asyncio.run(readiness.code(web.url(""), interval=0.01, progress=lambda *told: None))
