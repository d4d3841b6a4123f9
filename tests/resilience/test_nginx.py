"""Streams through a real nginx, which is configured as the documentation says."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import httpx
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import markdown
from tests.acceptance.exchanges import events_of, refused
from tests.gateway import Gateway, sqlite_database
from tests.programs import ROOT, Program, eventually
from tests.resilience.faults import SMALL
from tests.resilience.rows import row_of_request
from tests.resilience.streams import ROLL, TIMEOUT, judged, question
from tests.scripted_vllm import ScriptedVLLM, pause, text

PAGE = ROOT / "docs" / "how-to" / "nginx.md"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
HOST = "gateway.example.org"

AROUND = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
{user}
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/gateway.conf;
}}
"""

PATIENCE = 1
"""Seconds after which this nginx cuts an upstream that says nothing. The page has an hour."""

SILENCE = 1.5 * PATIENCE


class Proxy(NamedTuple):
    """nginx in front of a gateway. ``tls`` trusts its certificate."""

    url: str
    plain_url: str
    tls: ssl.SSLContext
    headers: dict[str, str]
    gateway: Gateway

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, verify=self.tls, headers=self.headers, timeout=TIMEOUT
        )


@pytest.fixture(scope="module")
def proxy(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if NGINX is None:
        pytest.skip("no nginx: install it, e.g. `apt-get install nginx-light`")
    folder = tmp_path_factory.mktemp("nginx")
    settings = {"KEEPALIVE_FIRST": 0.2, "KEEPALIVE_EVERY": 0.3, "MAX_BODY_BYTES": 1_000_000}
    gateway = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    token = gateway.manage("createapikey", "proxy").splitlines()[0]
    secure, plain = free_port(), free_port()
    certificate = make_certificate(folder)
    write_configuration(folder, gateway.url, secure=secure, plain=plain)
    nginx = Program([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    eventually(lambda: (folder / "nginx.pid").exists() or nginx.process.poll() is not None)
    assert nginx.process.poll() is None, nginx.output + (folder / "error.log").read_text()
    headers = {"Authorization": f"Bearer {token}", "Host": HOST}
    yield Proxy(
        f"https://127.0.0.1:{secure}",
        f"http://127.0.0.1:{plain}",
        ssl.create_default_context(cafile=certificate),
        headers,
        gateway,
    )
    nginx.signal(signal.SIGTERM)  # killed, it would leave its workers behind
    nginx.wait()
    gateway.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def write_configuration(folder: Path, gateway: str, *, secure: int, plain: int) -> None:
    """The page's, but for addresses, certificates and the patience."""
    code = next(block.code for block in markdown.blocks(PAGE) if block.language == "nginx")
    for old, new in {
        "127.0.0.1:5969": gateway.removeprefix("http://"),
        "listen 443 ": f"listen 127.0.0.1:{secure} ",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "/etc/ssl": str(folder),
        "proxy_read_timeout 3600s": f"proxy_read_timeout {PATIENCE}s",
    }.items():
        assert old in code, old
        code = code.replace(old, new)
    (folder / "gateway.conf").write_text(code)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))


def make_certificate(folder: Path) -> Path:
    """A key, and a certificate that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    names = [x509.DNSName(HOST), x509.IPAddress(IPv4Address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "gateway.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path = folder / "gateway.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def read_until(pieces: Iterator[bytes], wanted: bytes) -> bytes:
    """What comes up to and with these bytes."""
    got = b""
    while wanted not in got:
        got += next(pieces)
    return got


# --- Order and timing -----------------------------------------------------------------------------


def test_a_stream_arrives_as_it_left(proxy: Proxy, vllm: ScriptedVLLM) -> None:
    vllm.script(SMALL)
    with proxy.client() as client:
        answer = client.post("/v1/responses", json=question(stream=True, tools=[ROLL]))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "x-accel-buffering" not in answer.headers, "nginx did not see it"
    response = judged(answer.content, events_of(answer.content))
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
    ]


def test_each_token_arrives_before_the_next_is_made(proxy: Proxy, vllm: ScriptedVLLM) -> None:
    words = ["One", "Two", "Three"]
    turns = [threading.Event() for _ in words]
    reply = text()
    for word, turn in zip(words, turns, strict=True):
        reply = reply + pause(turn) + text(word)
    vllm.script(reply)
    with (
        proxy.client() as client,
        client.stream("POST", "/v1/responses", json=question(stream=True)) as answer,
    ):
        pieces = answer.iter_raw()
        read_until(pieces, b"response.in_progress")
        for word, turn in zip(words, turns, strict=True):
            assert not turn.is_set()
            turn.set()
            got = read_until(pieces, b'"delta":"%b"' % word.encode())
        # The end may have come with the last word.
        assert b"".join([got, *pieces]).endswith(b"data: [DONE]\n\n")


def test_a_model_that_thinks_longer_than_the_proxy_waits_is_not_cut(
    proxy: Proxy, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on) + text("B"))
    with (
        proxy.client() as client,
        client.stream("POST", "/v1/responses", json=question(stream=True)) as answer,
    ):
        pieces, began = answer.iter_raw(), time.monotonic()
        got = read_until(pieces, b'"delta":"A"')
        while time.monotonic() - began < SILENCE:
            got += read_until(pieces, b": keep-alive\n\n")
        go_on.set()
        got += b"".join(pieces)
    assert got.count(b": keep-alive\n\n") >= SILENCE / 0.4
    assert events_of(got)[-1]["type"] == "response.completed"


def test_a_client_that_leaves_ends_the_run(proxy: Proxy, vllm: ScriptedVLLM) -> None:
    forever = threading.Event()
    vllm.script(text("A") + pause(forever))
    with (
        proxy.client() as client,
        client.stream("POST", "/v1/responses", json=question(stream=True)) as answer,
    ):
        read_until(answer.iter_raw(), b'"delta":"A"')
    assert vllm.chats[-1].aborted.wait(5)
    request_id = answer.headers["x-request-id"]
    eventually(
        lambda: (
            (row := row_of_request(proxy.gateway.database, request_id)) is not None
            and row.status == "cancelled"
        )
    )


# --- Everything else ------------------------------------------------------------------------------


def test_the_official_client_works_through_it(proxy: Proxy, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Hello"), text("again"))
    key = proxy.headers["Authorization"].removeprefix("Bearer ")
    http = openai.DefaultHttpxClient(verify=proxy.tls)
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=key, http_client=http) as client:
        first = client.responses.create(model="tiny", input="Hi")
        second = client.responses.create(model="tiny", input="And?", previous_response_id=first.id)
    assert (first.output_text, second.output_text) == ("Hello", "again")


def test_without_a_key_nobody_gets_in(proxy: Proxy) -> None:
    with httpx.Client(base_url=proxy.url, verify=proxy.tls) as client:
        refused(client.post("/v1/responses", json=question()), 401, code="invalid_api_key")


def test_a_body_that_is_too_large_is_refused_in_the_apis_words(proxy: Proxy) -> None:
    with proxy.client() as client:
        answer = client.post("/v1/responses", json=question(input="x" * 2_000_000))
    refused(answer, 413, code="request_too_large")


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    answer = httpx.get(f"{proxy.plain_url}/v1/models?limit=1", headers={"Host": HOST})
    assert answer.status_code == 301
    assert answer.headers["location"] == f"https://{HOST}/v1/models?limit=1"
