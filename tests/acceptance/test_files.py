"""Uploaded files and containers through the official client, on both databases."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.acceptance.guarded import Guarded
from tests.gateway import Gateway


@pytest.fixture
def client(stateful_gateway: Gateway) -> Iterator[openai.OpenAI]:
    with stateful_gateway.client() as made:
        yield made


def test_a_file_is_kept_listed_read_and_erased(client: openai.OpenAI) -> None:
    made = client.files.create(file=("a b.csv", b"x,y\n1,2\n"), purpose="user_data")
    assert (made.object, made.bytes, made.filename) == ("file", 8, "a b.csv")
    assert made.id.startswith("file-")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == b"x,y\n1,2\n"
    assert made.id in [file.id for file in client.files.list(purpose="user_data")]
    assert made.id not in [file.id for file in client.files.list(purpose="vision")]
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_files_are_paged(client: openai.OpenAI) -> None:
    made = [
        client.files.create(file=(f"{number}.txt", b"x"), purpose="evals").id for number in range(3)
    ]
    first = client.files.list(purpose="evals", limit=2, order="asc")
    assert [file.id for file in first] == made
    assert first.has_more


def test_a_file_may_expire(client: openai.OpenAI) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(
        file=("a.txt", b"x"),
        purpose="user_data",
        expires_after=expiry,  # type: ignore[arg-type]
    )
    assert made.expires_at is not None
    assert made.expires_at - made.created_at in (3599, 3600, 3601)


def test_a_large_file_goes_to_disk_and_back(client: openai.OpenAI) -> None:
    content = bytes(range(256)) * 20_000
    made = client.files.create(file=("big.bin", io.BytesIO(content)), purpose="user_data")
    assert made.bytes == len(content)
    assert client.files.content(made.id).read() == content


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fun"}, "purpose"),
        ({}, "purpose"),
        ({"purpose": "user_data", "expires_after[anchor]": "now"}, "expires_after[anchor]"),
        (
            {
                "purpose": "user_data",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "1",
            },
            "expires_after[seconds]",
        ),
    ],
)
def test_wrong_fields_are_refused_by_name(
    gateway: Gateway, fields: dict[str, str], param: str
) -> None:
    answer = gateway.http.post("/v1/files", data=fields, files={"file": ("a", b"x")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_form_without_a_file_is_refused(gateway: Gateway) -> None:
    form = {"purpose": (None, "user_data")}
    answer = gateway.http.post("/v1/files", files=form)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    answer = gateway.http.post("/v1/files", json={})
    assert answer.status_code == 415
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = gateway.http.post("/v1/files", content=b"--y\r\nnonsense", headers=broken)
    assert answer.status_code == 400


def test_a_form_may_come_in_chunks(gateway: Gateway) -> None:
    form = httpx.Request(
        "POST",
        gateway.url,
        data={"purpose": "user_data"},
        files={"file": ("a.txt", b"a" * 200_000)},
    )
    headers = {"content-type": form.headers["content-type"]}
    answer = gateway.http.post("/v1/files", content=iter([form.read()]), headers=headers)
    assert answer.json()["bytes"] == 200_000


def test_content_is_an_attachment_that_no_browser_guesses(gateway: Gateway) -> None:
    upload = {"file": ("<b>ä.html", b"<script>1</script>")}
    made = gateway.http.post("/v1/files", data={"purpose": "user_data"}, files=upload).json()
    answer = gateway.http.get(f"/v1/files/{made['id']}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")


def test_a_container_holds_files(client: openai.OpenAI) -> None:
    uploaded = client.files.create(file=("data.csv", b"1"), purpose="assistants")
    made = client.containers.create(name="mine", file_ids=[uploaded.id])
    assert (made.object, made.status, made.name) == ("container", "running", "mine")
    assert made.expires_after is not None
    assert made.expires_after.minutes == 20
    direct = client.containers.files.create(made.id, file=("b.txt", b"22"))
    assert (direct.path, direct.source, direct.bytes) == ("/mnt/data/b.txt", "user", 2)
    copied = client.containers.files.create(made.id, file_id=uploaded.id)
    files = list(client.containers.files.list(made.id, order="asc"))
    assert [file.path for file in files] == ["/mnt/data/data.csv", "/mnt/data/b.txt"]
    assert copied.id == files[0].id, "a file of the same name keeps its id"
    content = client.containers.files.content.retrieve(direct.id, container_id=made.id)
    assert content.read() == b"22"
    client.containers.files.delete(direct.id, container_id=made.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.files.retrieve(direct.id, container_id=made.id)
    client.containers.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.retrieve(made.id)


def test_a_container_tells_the_memory_that_was_asked_for(client: openai.OpenAI) -> None:
    assert client.containers.create(name="large", memory_limit="1g").memory_limit == "1g"
    made = client.containers.create(name="usual")
    assert client.containers.retrieve(made.id).memory_limit is None


def test_containers_are_listed_by_name(client: openai.OpenAI) -> None:
    made = [client.containers.create(name=name) for name in ("one", "two", "two")]
    listed = [container.id for container in client.containers.list(name="two", order="asc")]
    assert listed == [container.id for container in made[1:]]


def test_an_expired_container_can_be_seen_and_not_used(
    client: openai.OpenAI, stateful_gateway: Gateway
) -> None:
    made = client.containers.create(name="old")
    past = "2020-01-01 00:00:00+00:00"
    stateful_gateway.database.query(
        "UPDATE store_container SET expires_at = %s WHERE id = %s", past, made.id
    )
    assert client.containers.retrieve(made.id).status == "expired"
    with pytest.raises(openai.BadRequestError) as caught:
        client.containers.files.create(made.id, file=("b.txt", b"22"))
    assert caught.value.code == "container_expired"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x", "network_policy": {"type": "allowlist"}}, "network_policy"),
        ({"name": "x\0"}, "name"),
        ({"name": "x", "file_ids": ["a\0"]}, "file_ids[0]"),
        ({"name": "x", "skills": [{"type": "x"}]}, "skills"),
        ({"name": "x", "memory_limit": "3g"}, "memory_limit"),
        ({"name": "x", "memory_limit": "4g"}, "memory_limit"),  # the gateway allows less
        ({"name": "x", "expires_after": {"anchor": "last_active_at", "minutes": 0}},
         "expires_after.minutes"),
    ],
)  # fmt: skip
def test_what_a_container_cannot_be_is_refused_by_name(
    gateway: Gateway, body: dict[str, object], param: str
) -> None:
    answer = gateway.http.post("/v1/containers", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("path", "param"), [("files?purpose=%00", "purpose"), ("containers?name=%00", "name")]
)
def test_what_no_database_can_look_for_is_refused_by_name(
    stateful_gateway: Gateway, path: str, param: str
) -> None:
    answer = stateful_gateway.http.get(f"/v1/{path}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_container_with_a_file_that_is_not_there_is_not_made(gateway: Gateway) -> None:
    body = {"name": "never", "file_ids": ["file-none"]}
    assert gateway.http.post("/v1/containers", json=body).status_code == 404
    listed = gateway.http.get("/v1/containers", params={"name": "never"}).json()
    assert listed["data"] == []


def test_a_container_has_a_limit_of_files_and_bytes(impatient_gateway: Gateway) -> None:
    with impatient_gateway.client() as client:
        made = client.containers.create(name="small")
        client.containers.files.create(made.id, file=("a", bytes(1024)))
        too_large = client.files.create(file=("b", bytes(1025)), purpose="user_data")
        for source in ({"file": ("b", bytes(1025))}, {"file_id": too_large.id}):
            with pytest.raises(openai.BadRequestError, match="2048 bytes") as refused:
                client.containers.files.create(made.id, **source)
            assert refused.value.param == "file"
        client.containers.files.create(made.id, file=("b", b""))
        with pytest.raises(openai.BadRequestError, match="2 files"):
            client.containers.files.create(made.id, file=("c", b""))
        names = ("one", "two", "three")
        many = [client.files.create(file=(n, b""), purpose="user_data").id for n in names]
        with pytest.raises(openai.BadRequestError, match="2 files") as refused:
            client.containers.create(name="never", file_ids=many)
        assert refused.value.param == "file_ids"
        assert list(client.containers.list(name="never")) == []


def test_files_and_containers_of_another_project_are_not_there(guarded: Guarded) -> None:
    client = guarded.gateway.client
    with client(api_key=guarded.ours) as mine, client(api_key=guarded.theirs) as other:
        _try_all_of_another_project(mine, other)


def _try_all_of_another_project(mine: openai.OpenAI, other: openai.OpenAI) -> None:
    file = mine.files.create(file=("a.txt", b"x"), purpose="user_data")
    container = mine.containers.create(name="mine", file_ids=[file.id])
    [inside] = mine.containers.files.list(container.id)
    for attempt in (
        lambda: other.files.retrieve(file.id),
        lambda: other.files.content(file.id),
        lambda: other.files.delete(file.id),
        lambda: other.containers.retrieve(container.id),
        lambda: other.containers.delete(container.id),
        lambda: other.containers.files.list(container.id),
        lambda: other.containers.files.content.retrieve(inside.id, container_id=container.id),
        lambda: other.containers.files.create(container.id, file=("b", b"x")),
        lambda: other.containers.create(name="x", file_ids=[file.id]),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_looking_at_a_container_keeps_it_alive_unless_it_has_expired(
    client: openai.OpenAI, stateful_gateway: Gateway
) -> None:
    made = client.containers.create(name="used")
    before = "2020-01-01 00:00:00+00:00"
    update = "UPDATE store_container SET last_active_at = %s WHERE id = %s"
    stateful_gateway.database.query(update, before, made.id)
    for operation in (
        lambda: client.containers.retrieve(made.id),
        lambda: client.containers.files.create(made.id, file=("b.txt", b"22")),
        lambda: client.containers.files.list(made.id),
    ):
        stateful_gateway.database.query(update, before, made.id)
        operation()
        seen = client.containers.list(name="used").data[0].last_active_at
        assert seen is not None
        assert seen >= made.created_at


def test_names_cannot_lead_out_of_the_container(client: openai.OpenAI) -> None:
    made = client.containers.create(name="x")
    inside = client.containers.files.create(made.id, file=("../../etc/passwd", b"x"))
    assert inside.path == "/mnt/data/passwd"
