"""The Agents SDK with tools that the gateway runs: approvals are given by its callback."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from agents import Agent, HostedMCPTool, OpenAIResponsesModel, RunConfig, Runner

from tests.acceptance.calculator import declare
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text, tool_call
from tests.tools.mcp.servers import OnHttp


def ask(gateway: Gateway, tool: HostedMCPTool, *questions: str, streamed: bool) -> str:
    """The answer to the last of the questions, which are one conversation."""

    async def scenario() -> str:
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
        async with client:
            agent = Agent(
                name="Calculator",
                instructions="Calculate.",
                model=OpenAIResponsesModel(model="tiny", openai_client=client),
                tools=[tool],
            )
            config = RunConfig(tracing_disabled=True)
            said: list[Any] = []
            answer = ""
            for question in questions:
                said.append({"role": "user", "content": question})
                if streamed:
                    running = Runner.run_streamed(agent, said, run_config=config)
                    async for _ in running.stream_events():
                        pass
                    said, answer = running.to_input_list(), running.final_output
                else:
                    result = await Runner.run(agent, said, run_config=config)
                    said, answer = result.to_input_list(), result.final_output
            return answer

    return asyncio.run(scenario())


def tool_of(server: OnHttp, **more: Any) -> HostedMCPTool:
    on_approval = more.pop("on_approval_request", None)
    return HostedMCPTool(tool_config=declare(server, **more), on_approval_request=on_approval)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_uses_a_server(
    mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM, *, streamed: bool
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Five."))
    tool = tool_of(calculator, require_approval="never")
    assert ask(mcp_gateway, tool, "2+3?", streamed=streamed) == "Five."
    assert vllm.requests[-1].body["messages"][-1]["content"] == "5"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("approve", "told"), [(True, "5"), (False, "The user refused this call.")])
def test_an_agent_decides_about_a_call(
    mcp_gateway: Gateway,
    calculator: OnHttp,
    vllm: ScriptedVLLM,
    *,
    approve: bool,
    told: str,
    streamed: bool,
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Done."))
    asked: list[Any] = []

    def decide(request: Any) -> Any:
        asked.append(request.data.name)
        return {"approve": approve}

    tool = tool_of(calculator, require_approval="always", on_approval_request=decide)
    assert ask(mcp_gateway, tool, "2+3?", streamed=streamed) == "Done."
    assert asked == ["add"]
    assert vllm.requests[-1].body["messages"][-1]["content"] == told


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_goes_on_after_a_decision(
    mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM, *, streamed: bool
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Five."), text("Sure."))
    tool = tool_of(
        calculator,
        require_approval="always",
        on_approval_request=lambda request: {"approve": True},
    )
    assert ask(mcp_gateway, tool, "2+3?", "Sure?", streamed=streamed) == "Sure."
    sent = vllm.requests[-1].body["messages"]
    assert [entry["content"] for entry in sent if entry["role"] == "tool"] == ["5"]
