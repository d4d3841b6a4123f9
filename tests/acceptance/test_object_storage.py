"""Files in object storage: a server that speaks S3, the gateway with GATEWAY_FILE_STORAGE, its SDK."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3  # type: ignore[import-untyped]  # it has no stubs
import openai
import pytest
from moto.server import ThreadedMotoServer

from tests.acceptance.tool_hosts import code, gateway_with_tool_host, install_pyodide
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text

KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
PAST = "2020-01-01 00:00:00"


@dataclass(frozen=True)
class Bucket:
    """What is in the bucket, as its owner sees it."""

    client: Any
    url: str

    def contents(self) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket="files").get("Contents", [])
        return {
            entry["Key"]: self.client.get_object(Bucket="files", Key=entry["Key"])["Body"].read()
            for entry in found
        }


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=KEYS["AWS_DEFAULT_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="files")
    yield Bucket(client, url)
    client.close()
    server.stop()


@pytest.fixture(scope="module")
def stored(
    bucket: Bucket, vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway that keeps files in the bucket, with a tool host."""
    install_pyodide()
    with gateway_with_tool_host(
        tmp_path_factory.mktemp("stored"),
        vllm.url,
        FILE_STORAGE="s3://files/of/gateway",
        environment=KEYS | {"AWS_ENDPOINT_URL": bucket.url},
    ) as running:
        yield running


@pytest.fixture
def client(stored: Gateway) -> Iterator[openai.OpenAI]:
    with stored.client() as made:
        yield made


def test_files_are_objects_of_the_bucket_until_they_are_deleted(
    client: openai.OpenAI, bucket: Bucket, stored: Gateway
) -> None:
    content = bytes(range(256)) * 4000
    made = client.files.create(file=("a.bin", io.BytesIO(content)), purpose="user_data")
    ((name, kept),) = bucket.contents().items()
    assert name.startswith("of/gateway/")
    assert kept == content
    assert client.files.content(made.id).read() == content
    assert not (stored.folder / "files").exists()
    client.files.delete(made.id)
    assert bucket.contents() == {}


def test_code_works_with_files_of_the_bucket(
    client: openai.OpenAI, bucket: Bucket, vllm: ScriptedVLLM
) -> None:
    given = client.files.create(file=("numbers.txt", b"1 2 3"), purpose="user_data")
    source = (
        "s = sum(map(int, open('numbers.txt').read().split()))\nopen('sum.txt', 'w').write(f'{s}')"
    )
    vllm.script(
        code(source),
        text("Here: [sum](sandbox:/mnt/data/sum.txt)."),
    )
    tool: Any = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [given.id]}}
    response: Any = client.responses.create(model="m", input="Sum!", tools=[tool])
    (citation,) = response.output[-1].content[0].annotations
    content = client.containers.files.content.retrieve(
        citation.file_id, container_id=citation.container_id
    )
    assert content.read() == b"6"
    assert sorted(bucket.contents().values()) == [b"1 2 3", b"1 2 3", b"6"]
    client.containers.delete(citation.container_id)
    client.files.delete(given.id)
    assert bucket.contents() == {}


def test_what_has_expired_is_erased_from_the_bucket(
    client: openai.OpenAI, bucket: Bucket, stored: Gateway
) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    client.files.create(file=("a.txt", b"file"), purpose="user_data", expires_after=expiry)
    container = client.containers.create(name="c")
    client.containers.files.create(container.id, file=("b.txt", b"container's"))
    assert sorted(bucket.contents().values()) == [b"container's", b"file"]
    stored.database.query("UPDATE store_file SET expires_at = %s", PAST)
    stored.database.query("UPDATE store_container SET expires_at = %s", PAST)
    told = stored.manage("purge")
    assert "expired files: 1" in told
    assert bucket.contents() == {}


def test_bytes_in_the_bucket_whose_row_may_still_come_are_left_alone(
    bucket: Bucket, stored: Gateway
) -> None:
    for name in ("1/", "1/cntr_1/"):
        key = f"of/gateway/{name}{'0' * 32}"
        bucket.client.put_object(Bucket="files", Key=key, Body=b"fresh")
    told = stored.manage("purge", "--orphans")
    assert "bytes without a file: 0" in told
    assert len(bucket.contents()) == 2
    for key in bucket.contents():
        bucket.client.delete_object(Bucket="files", Key=key)


def test_what_goes_while_orphans_are_looked_for_is_no_error(stored: Gateway) -> None:
    ask = "blobs.is_older_now('1/gone', datetime(2100, 1, 1, tzinfo=UTC))"
    code = f"from datetime import *; from apps.store import blobs; print('older:', {ask})"
    assert "older: False" in stored.manage("shell", "--command", code)


def test_a_bucket_that_is_not_there_is_said(
    client: openai.OpenAI, bucket: Bucket, stored: Gateway
) -> None:
    made = client.files.create(file=("a.txt", b"x"), purpose="user_data")
    (name,) = bucket.contents()
    bucket.client.delete_object(Bucket="files", Key=name)
    bucket.client.delete_bucket(Bucket="files")
    try:
        for attempt in (
            lambda: client.files.create(file=("b.txt", b"y"), purpose="user_data"),
            lambda: client.files.content(made.id),
        ):
            with pytest.raises(openai.InternalServerError) as refused:
                attempt()
            assert refused.value.status_code == 503
    finally:
        bucket.client.create_bucket(Bucket="files")
    assert [file.id for file in client.files.list()] == [made.id]
    client.files.delete(made.id)
