"""Code in containers, through the official client: a gateway, its tool host, the real sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from tests.acceptance.tool_hosts import OUTPUTS, TOOL, call_of, code
from tests.gateway import Gateway
from tests.numbers import Numbers
from tests.programs import eventually
from tests.scripted_vllm import ScriptedVLLM, raw, recorded, text, tool_call


@pytest.fixture
def client(sandboxed: Gateway) -> Iterator[openai.OpenAI]:
    with sandboxed.client() as made:
        yield made


def logs(response: Any) -> str:
    outputs = call_of(response).outputs
    return "".join(output.logs for output in outputs if output.type == "logs")


def test_code_runs_and_a_later_response_finds_its_variables(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(code("x = 2 + 2\nx"), text("It is 4."), code("print(x)"), text("It was 4."))
    first = client.responses.create(model="m", input="2+2?", tools=[TOOL], include=OUTPUTS)
    assert (first.status, first.output_text, logs(first)) == ("completed", "It is 4.", "4\n")
    second = client.responses.create(
        model="m",
        input="What was it?",
        tools=[TOOL],
        include=OUTPUTS,
        previous_response_id=first.id,
    )
    assert logs(second) == "4\n"
    assert call_of(second).container_id == call_of(first).container_id
    assert client.containers.retrieve(call_of(first).container_id).status == "running"


def elsewhere(folder: Path, name: str) -> Any:
    """What another vLLM answered, byte for byte."""
    text = (folder / "recordings" / "vllm-chat" / f"{name}.yaml").read_text()
    lines = yaml.safe_load(text)["response"]["sse"]
    return raw("".join(lines).encode(), content_type="text/event-stream", bare=True)


def test_what_a_vllm_sent_is_run_and_answered(
    client: openai.OpenAI, vllm: ScriptedVLLM, third_party_data: Path
) -> None:
    vllm.script(
        elsewhere(third_party_data, "vllm-code_interpreter-step1-stream"),
        elsewhere(third_party_data, "vllm-code_interpreter-step2-stream"),
    )
    response = client.responses.create(model="m", input="2+2", tools=[TOOL], include=OUTPUTS)
    assert response.status == "completed"
    assert (call_of(response).code, logs(response)) == ("2+2", "4\n")
    assert "4" in response.output_text


@pytest.mark.parametrize("case", ["chat/stream_tool_auto", "chat/stream_tool_auto_reasoning"])
def test_the_tool_runs_what_was_recorded(
    client: openai.OpenAI, vllm: ScriptedVLLM, case: str
) -> None:
    vllm.script(recorded(case), text("It is 4."))
    with client.responses.stream(model="m", input="2+2", tools=[TOOL], include=OUTPUTS) as stream:
        events: list[Any] = list(stream)
        response = stream.get_final_response()
    deltas = [event.delta for event in events if event.type.endswith("_code.delta")]
    assert "".join(deltas) == call_of(response).code == "2+2"
    assert logs(response) == "4\n"


def test_code_that_is_not_json_is_run_as_it_is(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    """So gpt-oss writes, which was trained with a tool of this name that takes code."""
    vllm.script(tool_call("python", 'x = {"a": 1}\n', 'print(x["a"])'), text("One."))
    response = client.responses.create(model="m", input="Go.", tools=[TOOL], include=OUTPUTS)
    assert call_of(response).code == 'x = {"a": 1}\nprint(x["a"])'
    assert logs(response) == "1\n"


def test_files_go_in_come_out_and_are_cited(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    given = client.files.create(file=("numbers.txt", b"1 2 3"), purpose="user_data")
    source = (
        "s = sum(map(int, open('numbers.txt').read().split()))\nopen('sum.txt', 'w').write(str(s))"
    )
    vllm.script(code(source), text("Here: [sum](sandbox:/mnt/data/sum.txt)."))
    tool: Any = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [given.id]}}
    response = client.responses.create(model="m", input="Sum!", tools=[tool], include=OUTPUTS)
    message: Any = response.output[-1]
    (citation,) = message.content[0].annotations
    assert (citation.type, citation.filename) == ("container_file_citation", "sum.txt")
    content = client.containers.files.content.retrieve(
        citation.file_id, container_id=citation.container_id
    )
    assert content.read() == b"6"


def test_files_that_code_renames_or_deletes_do_not_come_back(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    def paths() -> list[str]:
        return sorted(file.path for file in client.containers.files.list(made.id))

    made = client.containers.create(name="renaming")
    client.containers.files.create(made.id, file=("given.txt", b"1"))
    vllm.script(
        code("import os\nopen('a.txt', 'w').write('a')\nopen('b.txt', 'w').write('b')"),
        code("os.rename('a.txt', 'c.txt')\nos.remove('b.txt')\nos.remove('given.txt')"),
        text("Done."),
    )
    tool: Any = {"type": "code_interpreter", "container": made.id}
    response = client.responses.create(model="m", input="Go.", tools=[tool])
    assert response.status == "completed"
    assert paths() == ["/mnt/data/c.txt"]


def test_failed_code_is_an_outcome_and_the_model_is_told(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(code("1/0"), text("That was wrong."))
    response = client.responses.create(model="m", input="Go.", tools=[TOOL], include=OUTPUTS)
    assert call_of(response).status == "completed"
    assert logs(response).rstrip().endswith("ZeroDivisionError: division by zero")
    told = vllm.requests[-1].body["messages"][-1]
    assert "ZeroDivisionError" in json.dumps(told)


def test_calls_and_interpreters_are_counted(
    client: openai.OpenAI, vllm: ScriptedVLLM, sandboxed: Gateway
) -> None:
    before = Numbers(sandboxed.url)
    vllm.script(code("1"), code("1/0"), text("Done."))
    client.responses.create(model="m", input="Go.", tools=[TOOL])
    after = Numbers(sandboxed.url)

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("tool_calls_total", kind="code_interpreter", outcome="ok") == 2
    assert grown("tool_call_duration_seconds_count", kind="code_interpreter") == 2
    assert after("sandbox_nodes") == 1
    assert (after("sandboxes_busy"), after("sandbox_queue")) == (0, 0)
    assert 1 <= after("sandboxes_idle") <= after("sandboxes_most") == 8
    assert after("sandbox_resident_bytes") > 50e6


def test_a_client_that_leaves_stops_the_code(
    client: openai.OpenAI, vllm: ScriptedVLLM, sandboxed: Gateway
) -> None:
    started = "SELECT 1 FROM store_container WHERE id = %s AND node <> ''"
    vllm.script(code("import time\nwhile True: time.sleep(0.1)"))
    with client.responses.create(model="m", input="Go.", tools=[TOOL], stream=True) as stream:
        events = iter(stream)
        added: Any = next(event for event in events if event.type == "response.output_item.added")
        next(e for e in events if e.type == "response.code_interpreter_call.interpreting")
        eventually(lambda: sandboxed.database.query(started, added.item.container_id) or None)
    vllm.script(code("'free'"), text("Free."))  # it would wait in vain for code that goes on
    tool: Any = {"type": "code_interpreter", "container": added.item.container_id}
    response = client.responses.create(model="m", input="Go.", tools=[tool], include=OUTPUTS)
    assert logs(response).endswith("'free'\n")


def test_clients_that_leave_at_once_cost_a_container_nothing(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    """Whenever it is: while the interpreter starts, as the code begins, when it has just ended."""
    container = client.containers.create(name="kept").id
    tool: Any = {"type": "code_interpreter", "container": container}
    vllm.script(code("x = 'kept'"), text("Set."))
    client.responses.create(model="m", input="Go.", tools=[tool])
    for delay in (0, 0.005, 0.02, 0.05, 0.1):
        vllm.script(code("import time\nwhile True: time.sleep(0.01)"))
        with client.responses.create(model="m", input="Go.", tools=[tool], stream=True) as stream:
            next(e for e in stream if e.type == "response.code_interpreter_call.interpreting")
            time.sleep(delay)
    vllm.script(code("x"), text("Still there."))
    response = client.responses.create(model="m", input="Go.", tools=[tool], include=OUTPUTS)
    assert logs(response) == "'kept'\n"


def test_a_container_can_be_declared_by_its_id(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    container = client.containers.create(name="mine")
    client.containers.files.create(container.id, file=("a.txt", b"hello"))
    vllm.script(code("open('a.txt').read()"), text("Hello."))
    tool: Any = {"type": "code_interpreter", "container": container.id}
    response = client.responses.create(model="m", input="Read.", tools=[tool], include=OUTPUTS)
    assert logs(response) == "'hello'\n"
    assert call_of(response).container_id == container.id


def test_memory_is_what_the_container_asked_for(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    tool: Any = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "1g"}}
    vllm.script(code("len(bytearray(700 << 20)) >> 20"), text("Much."))
    response = client.responses.create(model="m", input="Go.", tools=[tool], include=OUTPUTS)
    assert logs(response) == "700\n"
    assert client.containers.retrieve(call_of(response).container_id).memory_limit == "1g"
    vllm.script(code("len(bytearray(700 << 20)) >> 20"), text("Too much."))
    response = client.responses.create(model="m", input="Go.", tools=[TOOL], include=OUTPUTS)
    assert logs(response).endswith("MemoryError\n")


@pytest.mark.parametrize(
    ("container", "param"),
    [
        ("cntr_of_nobody", "tools[0].container"),
        ({"type": "auto", "file_ids": ["file-x"]}, "tools[0].container.file_ids[0]"),
        ({"type": "auto", "memory_limit": "4g"}, "tools[0].container.memory_limit"),
        (
            {"type": "auto", "network_policy": {"type": "allowlist", "allowed_domains": ["a.b"]}},
            "tools[0].container.network_policy",
        ),
    ],
)
def test_what_cannot_be_had_is_named(client: openai.OpenAI, container: Any, param: str) -> None:
    tool: Any = {"type": "code_interpreter", "container": container}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input="Go.", tools=[tool])
    assert refused.value.param == param


def test_without_a_tool_host_the_error_says_how_to_start_one(gateway: Gateway) -> None:
    with gateway.client() as client, pytest.raises(openai.InternalServerError) as refused:
        client.responses.create(model="m", input="Go.", tools=[TOOL])
    assert refused.value.status_code == 503
    assert "manage.py toolhost" in refused.value.message
