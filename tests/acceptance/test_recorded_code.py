"""Whole loops of code as a real vLLM had them: what it sent is replayed, and the code really runs.

The recordings' requests are those of this gateway, so what is asked now is compared with them, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from apps.tools.code_interpreter.sandboxes.confinement import kernel
from apps.tools.code_interpreter.sandboxes.native.backend import bubblewrap
from apps.tools.code_interpreter.sandboxes.native.installation import NativeInstallation
from tests.acceptance.tool_hosts import TOOL, gateway_with_tool_host, install_pyodide
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, recorded
from tests.scripted_vllm.replies import RECORDINGS
from tests.tools.code_interpreter.conftest import FOLDER


@pytest.fixture(scope="module", params=["pyodide", "native"])
def sandboxed(
    request: pytest.FixtureRequest, vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    _prepare(request.param)
    place = tmp_path_factory.mktemp("recorded")
    with gateway_with_tool_host(place, vllm.url, SANDBOX=request.param) as running:
        yield running


def _prepare(backend: str) -> None:
    if backend == "pyodide":
        install_pyodide()
        return
    if not (bubblewrap() or (kernel().landlock and kernel().seccomp)):
        pytest.skip("needs bwrap and user namespaces, or a kernel with Landlock and seccomp")
    native = NativeInstallation(FOLDER / "native")
    if not native.installed:
        native.install(lambda line: None, with_packages=False)


@pytest.fixture
def client(sandboxed: Gateway) -> Iterator[openai.OpenAI]:
    with sandboxed.client() as made:
        yield made


def ask(client: openai.OpenAI, text: str, previous: str | None = None) -> Any:
    """As it was asked when vLLM was recorded."""
    with client.responses.stream(
        model="tiny",
        input=text,
        tools=[TOOL],
        include=["code_interpreter_call.outputs"],
        previous_response_id=previous,
        temperature=0,
        max_output_tokens=200,
    ) as stream:
        return stream.get_final_response()


def calls(response: Any) -> list[tuple[str, list[str]]]:
    """The code of each call, and what came out."""
    return [
        (item.code, [output.logs for output in item.outputs])
        for item in response.output
        if item.type == "code_interpreter_call"
    ]


def without_ids(value: Any) -> Any:
    """Messages as they are, but for the ids of calls, which are new each time."""
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items() if k not in ("id", "tool_call_id")}
    return [without_ids(each) for each in value] if isinstance(value, list) else value


def asked_alike(vllm: ScriptedVLLM, names: list[str]) -> None:
    for name, request in zip(names, vllm.requests, strict=True):
        recorded_request = json.loads((RECORDINGS / f"{name}.request.json").read_text())["body"]
        messages = without_ids(request.body["messages"])
        assert messages == without_ids(recorded_request["messages"]), name


def test_a_number_is_computed_and_known_in_the_next_response(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    kinds = ["number_call", "number_answer", "number_again_call", "number_again_answer"]
    names = [f"code_interpreter/{kind}" for kind in kinds]
    vllm.script(*map(recorded, names))
    first = ask(client, "Execute: 2+2")
    assert (first.output_text, calls(first)) == ("The result is 4", [("2+2", ["4\n"])])
    second = ask(client, "What number did you just compute?", first.id)
    assert (second.output_text, calls(second)) == ("The result is 4", [("2+2", ["4\n"])])
    containers = {
        item.container_id
        for response in (first, second)
        for item in response.output
        if item.type == "code_interpreter_call"
    }
    assert len(containers) == 1
    asked_alike(vllm, names)


def test_a_second_call_in_the_same_response_goes_on_with_the_first_one_s_result(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    names = [f"code_interpreter/two_calls_{kind}" for kind in ("first", "second", "answer")]
    vllm.script(*map(recorded, names))
    response = ask(client, "Execute: 2+2 and then: _ + 1")
    assert calls(response) == [("2+2", ["4\n"]), ("_ + 1", ["5\n"])]
    assert response.output_text == "The results are 4 and 5"
    asked_alike(vllm, names)
