"""vLLM without a tool parser: clients are told which of its flags are missing."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, recorded

FLAGS = "--enable-auto-tool-choice --tool-call-parser"
TOOL: Any = {"type": "function", "name": "code_interpreter", "parameters": {"type": "object"}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("case", "choice"),
    [
        ("tools_auto", "auto"),
        ("tools_required", "required"),
        ("stream_tools_required", "required"),
        ("tools_named", {"type": "function", "name": "code_interpreter"}),
    ],
)
def test_requests_with_tools_name_the_flags(
    client: openai.OpenAI, vllm: ScriptedVLLM, case: str, choice: Any, stream: bool
) -> None:
    vllm.script(recorded(f"bare/{case}"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(
            model="tiny", input="Execute: 2+2", tools=[TOOL], tool_choice=choice, stream=stream
        )
    assert FLAGS in str(caught.value)
    assert (caught.value.code, caught.value.param) == ("unsupported_by_upstream", "tools")


def test_without_tools_it_answers(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(recorded("bare/tools_none"))
    response = client.responses.create(
        model="tiny",
        input="Execute: 2+2",
        tools=[TOOL],
        tool_choice="none",
    )
    assert response.status == "completed"
    assert "tools" not in vllm.requests[-1].body


def test_it_is_remembered_nowhere(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    """vLLM may run with other flags the next time."""
    request = {"model": "tiny", "input": "Execute: 2+2", "tools": [TOOL]}
    vllm.script(recorded("bare/tools_auto"))
    refused = gateway.http.post("/v1/responses", json=request)
    served = gateway.http.post("/v1/responses", json=request)
    assert [refused.status_code, served.status_code] == [400, 200]
