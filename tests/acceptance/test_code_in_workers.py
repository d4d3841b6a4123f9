"""Code in sandbox workers as a deployment has it: a gateway, Redis, a broker, `manage.py worker`, the
real sandbox, and the official client."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import openai
import pytest
import redis
from kombu.exceptions import OperationalError

from apps.tools.code_interpreter import ledger
from tests.acceptance.tool_hosts import OUTPUTS, code, install_pyodide
from tests.event_streams import TERMINAL
from tests.gateway import Gateway, sqlite_database
from tests.programs import Program, eventually
from tests.scripted_vllm import ScriptedVLLM, text
from tests.tools.code_interpreter.conftest import FOLDER
from tests.web import png

RABBITMQ = os.environ.get("GATEWAY_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
ENDLESS = "import time\nwhile True: time.sleep(0.1)"


class Deployment:
    """A gateway, and workers that know nothing of it but its address."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.workers: dict[str, Program] = {}

    def add_worker(self) -> str:
        """Start one; gives its name."""
        worker = Program([sys.executable, "manage.py", "worker"], env=self.gateway.environment)
        name = worker.line("sandbox worker ready").split("node=")[1].split()[0]
        self.workers[name] = worker
        return name

    def holder(self, container_id: str) -> str:
        """The worker that has the container, once its code has begun."""
        query = "SELECT node FROM store_container WHERE id = %s AND node <> ''"
        rows = eventually(lambda: self.gateway.database.query(query, container_id) or None)
        return str(rows[0][0])

    def kill(self, name: str) -> None:
        worker = self.workers.pop(name)
        worker.signal(signal.SIGKILL)
        worker.wait()

    def close(self) -> None:
        self.gateway.close()
        for worker in self.workers.values():
            worker.close()


@pytest.fixture(scope="module")
def rabbitmq() -> str:
    """The URL of a RabbitMQ."""
    try:
        with kombu.Connection(RABBITMQ, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1)
    except OperationalError as exc:
        pytest.skip(f"no RabbitMQ ({exc}): start one and set GATEWAY_TEST_AMQP_URL")
    return RABBITMQ


@pytest.fixture(scope="module")
def deploy(
    vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments with one worker each."""
    install_pyodide()
    made: list[Deployment] = []

    def make(**environment: str) -> Deployment:
        with redis.Redis.from_url(redis_url) as client:
            for key in client.scan_iter(f"{ledger.PREFIX}*"):
                client.delete(key)
        place = tmp_path_factory.mktemp("workers")
        warnings = {"PYTHONWARNINGS": "ignore"}  # Celery's, of a worker that runs as root
        gateway = Gateway(
            sqlite_database(place),
            place,
            upstream=vllm.url,
            # Long enough for a busy machine, and shorter than code may run that nobody stops.
            settings={"SANDBOX_DIR": FOLDER, "SANDBOX_QUEUE_SECONDS": 45},
            environment={"REDIS_URL": redis_url} | warnings | environment,
        )
        made.append(Deployment(gateway))
        made[-1].add_worker()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def deployment(
    request: pytest.FixtureRequest, deploy: Callable[..., Deployment]
) -> Iterator[Deployment]:
    """One whose calls go through this broker."""
    url = {"CELERY_BROKER_URL": request.getfixturevalue("rabbitmq")}
    made = deploy(**(url if request.param == "rabbitmq" else {}))
    yield made
    made.close()


@pytest.fixture
def client(deployment: Deployment) -> Iterator[openai.OpenAI]:
    with deployment.gateway.client() as made:
        yield made


def tool(container: Any = None) -> Any:
    return {"type": "code_interpreter", "container": container or {"type": "auto"}}


def call_of(response: Any) -> Any:
    (found,) = [item for item in response.output if item.type == "code_interpreter_call"]
    return found


def logs(response: Any) -> str:
    outputs = call_of(response).outputs
    return "".join(output.logs for output in outputs if output.type == "logs")


def run(client: openai.OpenAI, vllm: ScriptedVLLM, source: str, **more: Any) -> Any:
    """A response in which the model runs this code."""
    vllm.script(code(source), text("Done."))
    request: dict[str, Any] = {"tools": [tool()], "include": OUTPUTS} | more
    return client.responses.create(model="m", input="Go.", **request)


def begin(client: openai.OpenAI, vllm: ScriptedVLLM, source: str, **more: Any) -> Any:
    """A stream whose code has begun, and its events so far."""
    vllm.script(code(source))
    request: dict[str, Any] = {"tools": [tool()], "include": OUTPUTS} | more
    stream = client.responses.create(model="m", input="Go.", stream=True, **request)
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.code_interpreter_call.interpreting":
            break
    return stream, seen


def test_variables_files_and_images_pass_between_worker_and_client(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    picture = client.files.create(file=("dot.png", png()), purpose="user_data")
    source = (
        "class Dot:\n"
        "    def _repr_png_(self): return open('dot.png', 'rb').read()\n"
        "x = len(Dot()._repr_png_())\n"
        "open('size.txt', 'w').write(str(x))\n"
        "print('made')\n"
        "Dot()"
    )
    vllm.script(code(source), text("Here: [size](sandbox:/mnt/data/size.txt)."))
    first: Any = client.responses.create(
        model="m",
        input="Measure it.",
        tools=[tool({"type": "auto", "file_ids": [picture.id]})],
        include=OUTPUTS,
    )
    said, image = call_of(first).outputs
    assert (said.type, said.logs) == ("logs", "made\n")
    assert (image.type, image.url[:22]) == ("image", "data:image/png;base64,")
    (citation,) = first.output[-1].content[0].annotations
    content = client.containers.files.content.retrieve(
        citation.file_id, container_id=citation.container_id
    )
    assert content.read() == str(len(png())).encode()
    later = run(client, vllm, "x, 1 / 0", previous_response_id=first.id)
    assert call_of(later).container_id == call_of(first).container_id
    assert call_of(later).status == "completed"
    assert logs(later).endswith("ZeroDivisionError: division by zero\n")
    assert run(client, vllm, "x", previous_response_id=later.id).output[0].outputs[0].logs == (
        f"{len(png())}\n"
    )


def test_a_client_that_leaves_stops_the_code_and_keeps_the_variables(
    client: openai.OpenAI, vllm: ScriptedVLLM, deployment: Deployment
) -> None:
    stream, events = begin(client, vllm, f"x = 41\n{ENDLESS}")
    added = next(event for event in events if event.type == "response.output_item.added")
    deployment.holder(added.item.container_id)
    stream.close()
    later = run(client, vllm, "x + 1", tools=[tool(added.item.container_id)])
    assert logs(later) == "42\n"


@pytest.mark.parametrize("deployment", ["redis"], indirect=True)
def test_a_worker_that_is_killed_costs_the_call_an_outcome_and_later_ones_their_variables(
    deployment: Deployment, vllm: ScriptedVLLM
) -> None:
    with deployment.gateway.client() as client:
        first = run(client, vllm, "x = 1; open('kept.txt', 'w').write('kept')")
        stream, events = begin(client, vllm, f"x = 2\n{ENDLESS}", previous_response_id=first.id)
        holder = deployment.holder(call_of(first).container_id)
        deployment.add_worker()
        deployment.kill(holder)
        vllm.script(text("Sorry."))
        events += stream
        (last,) = [event for event in events if event.type in TERMINAL]
        assert last is events[-1]
        response = last.response
        assert (response.status, call_of(response).status) == ("completed", "failed")
        assert "worker that ran the code died" in logs(response)
        told = vllm.requests[-1].body["messages"][-1]
        assert "worker that ran the code died" in json.dumps(told)
        source = "open('kept.txt').read(), 'x' in globals()"
        later = run(client, vllm, source, previous_response_id=response.id)
        assert call_of(later).container_id == call_of(first).container_id
        note, shown = logs(later).splitlines()
        assert "variables are lost" in note
        assert shown == "('kept', False)"
        assert deployment.holder(call_of(first).container_id) != holder
