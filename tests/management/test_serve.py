"""``manage.py serve`` from its first start to its end, with the demo and a pretended vLLM."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.management.gateway_command import Serve, all_gone
from tests.programs import eventually

ServeMaker = Callable[..., Serve]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServeMaker]:
    running: list[Serve] = []

    def make(*arguments: str, **settings: str) -> Serve:
        running.append(Serve(tmp_path / "data", *arguments, **settings))
        return running[-1]

    yield make
    for program in running:
        program.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """The demo after a first start; tests leave it running."""
    program = Serve(tmp_path_factory.mktemp("serve") / "data", "--demo", "--processes", "2")
    program.line("Ctrl-C stops it.")
    yield program
    program.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- first start -----------------------------------------------------------------------------------


def test_the_first_start_prepares_everything_and_the_second_keeps_it(
    serve: ServeMaker, tmp_path: Path
) -> None:
    first = serve("--demo")
    secrets = tmp_path / "data" / "secrets"
    assert httpx.get(f"{first.url}/health").status_code == 200
    assert [mode(secrets), mode(secrets / "secret_key"), mode(secrets / "encryption_key")] == [
        0o700,
        0o600,
        0o600,
    ]
    first.line("superuser 'admin' created")
    before = (secrets / "secret_key").read_text()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0

    second = serve("--demo")
    second.line("Ctrl-C stops it.")
    assert (secrets / "secret_key").read_text() == before
    assert "Secrets:" not in second.output
    assert "Database:" not in second.output
    assert "created" not in second.output


# -- ready -----------------------------------------------------------------------------------------


def test_the_command_it_prints_makes_a_response(demo: Serve) -> None:
    words = shlex.split(demo.line("curl "))
    answer = httpx.post(
        words[1], headers=dict([words[3].split(": ")]), content=words[5], timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed"


def test_the_demo_is_called_a_demo(demo: Serve) -> None:
    demo.line("[demo] ")
    assert "not from a language model" in demo.output
    assert httpx.get(f"{demo.url}/v1/models").json()["data"][0]["id"] == "demo"


def test_doctor_asks_the_demo_that_runs(demo: Serve) -> None:
    url = demo.line("[demo] ").split()[-1]
    done = demo.manage("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = [line.split() for line in done.stdout.splitlines() if " upstream " in line]
    assert told[:3] == ["ok", "upstream", f"{url},"]


def test_the_login_link_opens_the_admin_once(demo: Serve) -> None:
    link = demo.login_link
    with httpx.Client(follow_redirects=True, timeout=30) as browser:
        page = browser.get(link)
        assert page.status_code == 200
        assert page.url.path == "/admin/"
        assert "log out" in page.text.lower()
    again = httpx.get(link)
    assert again.status_code == 410
    assert "manage.py loginlink" in again.text


def test_several_processes_answer_on_one_port(demo: Serve) -> None:
    assert len(demo.servers()) == 2


def test_a_server_process_that_dies_is_started_again(demo: Serve) -> None:
    victim = demo.servers()[0]
    victim.kill()
    demo.line(f"Server process {victim.pid} was killed by SIGKILL. Another one is started")
    eventually(lambda: len(demo.servers()) == 2 and victim not in demo.servers())
    assert httpx.get(f"{demo.url}/health", timeout=30).status_code == 200


def test_elsewhere_than_on_loopback_it_says_that_a_key_is_needed(serve: ServeMaker) -> None:
    program = serve("--demo", "--host", "0.0.0.0")
    assert program.url.startswith("http://127.0.0.1:")
    program.line("Other machines need an API key: manage.py createapikey")


# -- end -------------------------------------------------------------------------------------------


def test_a_stream_under_way_is_finished_when_it_is_stopped(serve: ServeMaker) -> None:
    program = serve("--demo")
    url = program.url
    body = {"model": "demo", "input": "Count to 60", "stream": True}
    with httpx.stream("POST", f"{url}/v1/responses", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("event: response.created")
        children = program.children()
        program.signal(signal.SIGINT)
        assert "event: response.completed" in list(lines)
    assert program.wait() == 0
    all_gone(children)


def test_a_stream_that_takes_too_long_gets_a_terminal_event(serve: ServeMaker) -> None:
    program = serve("--demo", "--drain-timeout", "0.2")
    body = {"model": "demo", "input": "Wait 50 seconds", "stream": True}
    with httpx.stream("POST", f"{program.url}/v1/responses", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("event: response.created")
        program.signal(signal.SIGTERM)
        assert "event: response.failed" in list(lines)
    assert program.wait() == 0


def test_no_child_outlives_a_command_that_is_killed(serve: ServeMaker) -> None:
    program = serve("--demo")
    program.line("Ctrl-C stops it.")
    children = program.children()
    assert len(children) == 3  # the demo, the tool host, a server
    program.signal(signal.SIGKILL)
    all_gone(children)


# -- vLLM ------------------------------------------------------------------------------------------


def test_vllm_is_started_with_the_parsers_of_the_model_and_stopped_at_the_end(
    serve: ServeMaker,
) -> None:
    flags = ["--max-model-len", "4096", "--api-key", "word"]
    program = serve("--vllm", "Qwen/Qwen3-8B", "--", *flags)
    program.line("Ctrl-C stops it.")
    started = program.line("Starting ")
    assert "--enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser qwen3" in started
    assert started.endswith("--max-model-len 4096 --api-key '***'")
    assert program.line("[vllm] arguments").endswith("'--api-key', 'word'] key word")
    assert "[vllm] loading 50%" in program.lines
    assert "[vllm] loading 100%" in program.lines
    assert "Models  Qwen/Qwen3-8B" in program.output
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert program.lines[-1] == "[vllm] stopped by SIGINT"


def test_it_ends_when_vllm_ends(serve: ServeMaker) -> None:
    program = serve("--vllm", "dies")
    program.line("No tool parser is known for dies")
    program.line("[vllm] exited with 3: giving up.")
    assert program.wait() == 1


def test_it_ends_when_vllm_cannot_be_started(serve: ServeMaker) -> None:
    program = serve("--vllm", "model", GATEWAY_VLLM_COMMAND="no-such-command")
    program.line("'no-such-command' cannot be started")
    assert program.wait() == 1


# -- upstream --------------------------------------------------------------------------------------


def test_it_gives_up_on_an_upstream_that_does_not_come(serve: ServeMaker) -> None:
    limits = ["--upstream-timeout", "1", "--upstream-interval", "0.2"]
    program = serve("--upstream", "http://127.0.0.1:9", *limits)
    program.line("Waiting for the upstream http://127.0.0.1:9/v1: cannot connect")
    program.line("Gave up on the upstream http://127.0.0.1:9/v1 after 1 s")
    assert program.wait() == 1


class Upstream(BaseHTTPRequestHandler):
    """Serves a model list to who has the key."""

    def do_GET(self) -> None:
        accepted = self.headers["authorization"] == "Bearer right"
        self.send_response(200 if accepted and self.path == "/v1/models" else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "one"}, {"id": "two"}]}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_refused_key_is_reported_at_once(serve: ServeMaker, upstream: str) -> None:
    program = serve("--upstream", upstream, GATEWAY_UPSTREAM_API_KEY="wrong")
    program.line("refuses the key (HTTP 401). Set GATEWAY_UPSTREAM_API_KEY")
    assert program.wait() == 1


@pytest.mark.parametrize("ending", ["", "/v1/"])
def test_an_upstream_may_be_named_with_or_without_v1(
    serve: ServeMaker, upstream: str, ending: str
) -> None:
    program = serve("--upstream", upstream + ending, GATEWAY_UPSTREAM_API_KEY="right")
    program.line("Models  one, two")


# -- mistakes --------------------------------------------------------------------------------------


def test_without_an_upstream_it_says_how_to_give_one() -> None:
    with pytest.raises(CommandError, match=r"There is no upstream(.|\n)*--upstream(.|\n)*--demo"):
        call_command("serve")


def test_a_taken_port_is_named_with_the_flag_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = rf"127\.0\.0\.1 port {port}: Address already in use. Choose another .* --port"
        with pytest.raises(CommandError, match=wanted):
            call_command("serve", "--demo", "--port", str(port))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--demo", "--port", "70000"], "there is no such port"),
        (["--demo", "--host", "no.such.host.invalid"], "--host"),
        (["--demo", "--processes", "0"], "--processes: at least 1"),
        (["--demo", "--", "--max-model-len", "1"], "is for vLLM: give --vllm MODEL"),
        (["--upstream", "localhost:8000"], "is not a URL such as"),
        (["--demo", "--vllm", "model"], "not allowed with argument"),
    ],
)
def test_a_mistake_in_the_command_line_is_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("serve", *arguments)
