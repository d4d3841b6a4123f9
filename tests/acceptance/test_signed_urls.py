"""Files by signed addresses, for sandbox workers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from pytest_django import Settings

from apps.tools import signed_urls
from apps.tools.signed_urls import ContainerGrant, MediaGrant, signed_path
from tests.acceptance.guarded import Guarded
from tests.web import png

PNG = png()
KEY = "a key for tests"
OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture(autouse=True)
def same_key(settings: Settings) -> None:
    """The tests sign as the gateway does."""
    settings.SECRET_KEY = KEY


@pytest.fixture
def client(guarded: Guarded) -> Iterator[openai.OpenAI]:
    with guarded.gateway.client(api_key=guarded.ours) as made:
        yield made


@pytest.fixture
def stranger(guarded: Guarded) -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(base_url=guarded.gateway.url, timeout=30) as made:
        yield made


def project_of(guarded: Guarded, container_id: str) -> int:
    rows = guarded.gateway.database.query(
        "SELECT project_id FROM store_container WHERE id = %s", container_id
    )
    return int(rows[0][0])


def grant(guarded: Guarded, container_id: str, *, epoch: int = 1, seconds: float = 60) -> str:
    return signed_path(
        ContainerGrant(project_of(guarded, container_id), container_id, epoch), seconds=seconds
    )


def test_a_node_fetches_and_stores_the_files_of_its_container(
    guarded: Guarded, client: openai.OpenAI, stranger: httpx.Client
) -> None:
    made = client.containers.create(name="x")
    given = client.containers.files.create(made.id, file=("in.csv", b"1,2"))
    address = grant(guarded, made.id)
    assert stranger.get(f"{address}/{given.id}").content == b"1,2"
    put = stranger.put(address, params={"path": "plots/out.png"}, content=PNG, headers=OCTETS)
    assert put.status_code == 200
    assert put.json() == {"path": "plots/out.png", "size": len(PNG)} | {
        name: put.json()[name] for name in ("id", "version")
    }
    stored = client.containers.files.retrieve(put.json()["id"], container_id=made.id)
    assert (stored.path, stored.source) == ("/mnt/data/plots/out.png", "assistant")
    again = stranger.put(address, params={"path": "plots/out.png"}, content=b"x", headers=OCTETS)
    assert again.json()["id"] == stored.id
    assert again.json()["version"] != put.json()["version"]
    assert stranger.get(f"{address}/{stored.id}").content == b"x"


def test_a_file_larger_than_a_json_body_may_be_is_stored(
    guarded: Guarded, client: openai.OpenAI, stranger: httpx.Client
) -> None:
    made = client.containers.create(name="x")
    pieces = (bytes([number]) * 65536 for number in range(100))
    answer = stranger.put(
        grant(guarded, made.id), params={"path": "big"}, content=pieces, headers=OCTETS
    )
    assert answer.json()["size"] == 100 * 65536


def test_an_address_is_good_for_what_it_names_and_no_longer(
    guarded: Guarded, client: openai.OpenAI, stranger: httpx.Client
) -> None:
    made, other = (client.containers.create(name=name) for name in "xy")
    file = client.containers.files.create(other.id, file=("a", b"secret"))
    address = grant(guarded, made.id)
    token = address.rsplit("/", 1)[1]
    for wrong in (
        f"{address}/{file.id}",  # of another container
        f"{address[:-1]}{'A' if address[-1] != 'A' else 'B'}/{file.id}",
        f"{grant(guarded, other.id, seconds=-1)}/{file.id}",  # too late
        f"{signed_urls.PREFIX}/media/{token}",  # another kind of grant
        f"{signed_urls.PREFIX}/media/nonsense",
        f"{signed_urls.PREFIX}/media/a:b:c",
    ):
        assert stranger.get(wrong).status_code == 404, wrong
    reading = signed_path(MediaGrant(project_of(guarded, other.id), "0" * 64), seconds=60)
    assert stranger.get(reading).status_code == 404
    assert stranger.put(reading, content=b"x", headers=OCTETS).status_code == 405


@pytest.mark.parametrize(
    "path", ["", "../x", "/etc/passwd", "a/../../x", "a//b", ".", "..", "a\nb", "x" * 600]
)
def test_a_path_that_leads_elsewhere_is_refused(
    guarded: Guarded, client: openai.OpenAI, stranger: httpx.Client, path: str
) -> None:
    made = client.containers.create(name="x")
    answer = stranger.put(
        grant(guarded, made.id), params={"path": path}, content=b"x", headers=OCTETS
    )
    assert answer.status_code == 400
    assert list(client.containers.files.list(made.id)) == []


def test_a_node_that_lost_its_container_is_told(
    guarded: Guarded, client: openai.OpenAI, stranger: httpx.Client
) -> None:
    made = client.containers.create(name="x")
    guarded.gateway.database.query("UPDATE store_container SET epoch = 2 WHERE id = %s", made.id)
    answer = stranger.put(
        grant(guarded, made.id, epoch=1), params={"path": "a"}, content=b"x", headers=OCTETS
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "container_moved")


def test_only_bytes_are_taken(
    guarded: Guarded, client: openai.OpenAI, stranger: httpx.Client
) -> None:
    made = client.containers.create(name="x")
    answer = stranger.put(grant(guarded, made.id), params={"path": "a"}, json={})
    assert answer.status_code == 415
