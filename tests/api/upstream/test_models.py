"""Which models the upstream serves, and for how long that is believed."""

from __future__ import annotations

import socket
import threading

import pytest
from pytest_django.fixtures import Settings

from apps.api.upstream import models
from apps.api.upstream.errors import (
    UpstreamBroke,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from apps.api.upstream.models import ModelNames, list_models
from tests.api.upstream.turns import in_loop
from tests.scripted_vllm import Reply, ScriptedVLLM, body, failure, garbage, text

PATH = "/v1/models"


def error_with(server: ScriptedVLLM, reply: Reply) -> UpstreamError:
    server.routes[PATH] = reply
    with pytest.raises(UpstreamError) as caught:
        in_loop(list_models)
    return caught.value


def test_the_list_is_the_upstreams_own(server: ScriptedVLLM) -> None:
    server.models = ["a", "b"]
    listed = in_loop(list_models)
    assert [model["id"] for model in listed] == ["a", "b"]
    assert listed[0]["max_model_len"] == server.max_model_len
    assert server.requests[0].method == "GET"


def test_the_key_is_sent(server: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_UPSTREAM_API_KEY = "secret"
    in_loop(list_models)
    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_a_refusal_keeps_its_status(server: ScriptedVLLM) -> None:
    failed = error_with(server, failure(503, "Busy."))
    assert isinstance(failed, UpstreamRefused)
    assert (failed.status, str(failed)) == (503, "Busy.")


@pytest.mark.parametrize(
    "content", [b"", b"<html>", [], {}, {"data": None}, {"data": ["a"]}, {"data": [{"name": "a"}]}]
)
def test_junk_is_a_broken_answer(server: ScriptedVLLM, content: object) -> None:
    failed = error_with(server, body(content))
    assert type(failed) is UpstreamBroke
    assert str(failed) == "The model server's list of models is unreadable."


@pytest.mark.parametrize("reply", [garbage(), body({"data": []}, cut_after=0)])
def test_a_broken_connection_is_a_broken_answer(server: ScriptedVLLM, reply: Reply) -> None:
    assert type(error_with(server, reply)) is UpstreamBroke


def test_silence_ends_in_time(server: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "TIME_LIMIT", 0.2)
    silent = text("a", hang_before_headers=threading.Event())
    assert type(error_with(server, silent)) is UpstreamTimeout


def test_nobody_there_is_unreachable(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        settings.GATEWAY_UPSTREAM_URL = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UpstreamUnreachable):
        in_loop(list_models)


def test_names_are_believed_for_a_while(server: ScriptedVLLM) -> None:
    async def scenario() -> list[list[str]]:
        names = ModelNames()
        first = await names.get()
        server.models = ["other"]
        return [first, await names.get()]

    assert in_loop(scenario) == [["tiny"], ["tiny"]]
    assert len(server.requests) == 1


def test_old_names_are_asked_for_again(
    server: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FRESH", -1)

    async def scenario() -> list[list[str]]:
        names = ModelNames()
        first = await names.get()
        server.models = ["other"]
        return [first, await names.get()]

    assert in_loop(scenario) == [["tiny"], ["other"]]


def test_names_that_could_not_be_read_are_asked_for_again(server: ScriptedVLLM) -> None:
    async def scenario() -> list[str]:
        names = ModelNames()
        server.routes[PATH] = failure(503, "Busy.")
        with pytest.raises(UpstreamRefused):
            await names.get()
        del server.routes[PATH]
        return await names.get()

    assert in_loop(scenario) == ["tiny"]
