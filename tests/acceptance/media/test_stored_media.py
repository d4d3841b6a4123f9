"""Media are kept once per project, as long as a response uses them, and given back."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.acceptance.media.parts import (
    RED,
    create,
    document,
    image,
    refusal,
    said,
    sent,
    shown,
    user,
)
from tests.gateway import Database, Gateway
from tests.scripted_vllm import ScriptedVLLM
from tests.web import data_url, pdf, png


def items_of(gateway: Gateway, response_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = gateway.http.get(f"/v1/responses/{response_id}/input_items", params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def hashes(database: Database) -> set[str]:
    """All that is kept."""
    return {sha256 for (sha256,) in database.query("SELECT sha256 FROM store_media")}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_media_are_kept_once_per_project(stateful_gateway: Gateway) -> None:
    picture = png(30)
    for _ in range(2):
        create(stateful_gateway, user(image(picture), image(picture)))
    query = "SELECT count(*) FROM store_media WHERE sha256 = %s"
    assert stateful_gateway.database.query(query, sha256(picture)) == [(1,)]
    items = stateful_gateway.database.query("SELECT payload FROM store_storeditem")
    assert not any("base64" in payload for (payload,) in items)


def test_media_go_with_the_last_response_that_uses_them(stateful_gateway: Gateway) -> None:
    alone, shared = png(31), png(32)
    first = create(stateful_gateway, user(image(alone), image(shared))).json()
    second = create(stateful_gateway, user(image(shared))).json()
    stateful_gateway.http.delete(f"/v1/responses/{first['id']}")
    assert sha256(alone) not in hashes(stateful_gateway.database)
    assert sha256(shared) in hashes(stateful_gateway.database)
    stateful_gateway.http.delete(f"/v1/responses/{second['id']}")
    assert sha256(shared) not in hashes(stateful_gateway.database)


def test_a_referenced_item_keeps_its_media(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    picture = png(33)
    first = create(stateful_gateway, user(image(picture)) | {"id": "msg_with_picture"}).json()
    second = create(stateful_gateway, {"type": "item_reference", "id": "msg_with_picture"})
    assert second.status_code == 200, second.text
    stateful_gateway.http.delete(f"/v1/responses/{first['id']}")
    create(stateful_gateway, user(said("x")), previous_response_id=second.json()["id"])
    assert sent(vllm)[0]["content"] == [shown(picture)]


def test_media_that_come_and_go_at_once_are_neither_lost_nor_left(
    stateful_gateway: Gateway,
) -> None:
    pictures = [image(png(n)) for n in (36, 37, 38)]

    def come_and_go(number: int) -> tuple[int, int]:
        some = pictures[number % 3 :] + pictures[: number % 3]
        made = create(stateful_gateway, user(*some[:2]))
        url = f"/v1/responses/{made.json().get('id')}"
        return made.status_code, stateful_gateway.http.delete(url).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(come_and_go, range(96))) == {(200, 200)}
    assert not hashes(stateful_gateway.database) & {sha256(png(n)) for n in (36, 37, 38)}


def test_nothing_is_kept_of_what_is_not_stored(stateful_gateway: Gateway) -> None:
    picture = png(34)
    answer = create(stateful_gateway, user(image(picture)), store=False)
    assert answer.status_code == 200
    assert sha256(picture) not in hashes(stateful_gateway.database)


def test_a_turn_writes_no_more_the_longer_its_history_is(stateful_gateway: Gateway) -> None:
    def written() -> int:
        database = stateful_gateway.database
        (items,) = database.query("SELECT sum(length(payload)) FROM store_storeditem")
        (media,) = database.query("SELECT sum(size) FROM store_media")
        return int(items[0] or 0) + int(media[0] or 0)

    previous, sizes = None, []
    for turn in range(4):
        before = written()
        answer = create(
            stateful_gateway, user(image(png(40 + turn))), previous_response_id=previous
        )
        previous = answer.json()["id"]
        sizes.append(written() - before)
    assert len(set(sizes)) == 1


def test_another_project_cannot_name_what_it_does_not_have(stateful_gateway: Gateway) -> None:
    """A hash is not a capability: references are ours to write."""
    picture = png(35)
    create(stateful_gateway, user(image(picture)))
    answer = create(stateful_gateway, user(image(f"gateway-media:{sha256(picture)}")))
    assert refusal(answer) == ("input[0].content[0].image_url", "invalid_image_url")


def test_image_urls_are_given_back_when_asked_for(stateful_gateway: Gateway) -> None:
    parts = [said("x"), image(data_url(RED, "image/jpeg"), detail="low"), document(b"text", "a.md")]
    made = create(stateful_gateway, user(*parts)).json()
    file = {"type": "input_file", "filename": "a.md", "file_data": data_url(b"text", "text/plain")}
    picture = {"type": "input_image", "detail": "low", "image_url": None}
    (item,) = items_of(stateful_gateway, made["id"])
    assert item["content"] == [said("x"), picture, file]
    include = {"include[]": "message.input_image.image_url"}
    (item,) = items_of(stateful_gateway, made["id"], **include)
    assert item["content"] == [said("x"), picture | {"image_url": data_url(RED)}, file]


def test_a_pdf_is_given_back_as_it_was(gateway: Gateway) -> None:
    paper = pdf("Text")
    made = create(gateway, user(document(paper, "a.pdf"))).json()
    (item,) = items_of(gateway, made["id"])
    assert item["content"][0]["file_data"] == data_url(paper, "application/pdf")


def test_a_page_of_heavy_items_ends_early(open_gateway: Gateway) -> None:
    """The model gets a picture that comes five times once; a page gives it back five times."""
    picture = RED + bytes(19_000)
    made = create(open_gateway, *[user(image(picture)) for _ in range(5)]).json()
    include: list[Any] = ["message.input_image.image_url"]
    with open_gateway.client() as client:
        page = client.responses.input_items.list(made["id"], include=include, order="asc")
        assert (len(page.data), page.has_more) == (2, True)
        found: list[Any] = list(page)
    assert [item.content[0].image_url for item in found] == [data_url(picture)] * 5
    assert len({item.id for item in found}) == 5
