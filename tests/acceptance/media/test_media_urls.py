"""URLs are fetched by the gateway, as far as the operator lets it."""

from __future__ import annotations

import pytest

from tests.acceptance.media.parts import (
    RED,
    chat_image,
    create,
    document,
    image,
    refusal,
    said,
    sent,
    shown,
    user,
)
from tests.gateway import Gateway, sqlite_database
from tests.scripted_vllm import ScriptedVLLM
from tests.web import Page, Web, pdf, png, redirect


def test_an_image_url_is_fetched_and_sent_as_data(
    open_gateway: Gateway, vllm: ScriptedVLLM, web: Web
) -> None:
    web.pages |= {"/fetched.png": redirect("/real.png"), "/real.png": Page(RED, "image/png")}
    answer = create(open_gateway, user(image(web.url("/fetched.png")), said("x")))
    assert answer.status_code == 200, answer.text
    assert sent(vllm)[0]["content"][0] == shown(RED)
    assert web.asked[-2:] == ["/fetched.png", "/real.png"]


def test_a_url_is_fetched_once_per_request_and_never_again(
    open_gateway: Gateway, vllm: ScriptedVLLM, web: Web
) -> None:
    web.pages["/once.png"] = Page(RED, "image/png")
    url = web.url("/once.png")
    first = create(open_gateway, user(image(url), image(url))).json()
    again = create(open_gateway, user(said("x")), previous_response_id=first["id"])
    assert again.status_code == 200
    assert sent(vllm)[0]["content"] == [shown(RED), shown(RED)]
    assert web.asked.count("/once.png") == 1


@pytest.mark.parametrize(
    ("path", "page", "code"),
    [
        ("/gone.png", Page(status=404), "failed_to_download_image"),
        ("/page.html", Page(b"<html>", "text/html"), "unsupported_image_media_type"),
        ("/fake.png", Page(b"<html>", "image/png"), "invalid_image_format"),
        ("/paper.pdf", Page(pdf("x"), "image/png"), "invalid_image_format"),
        ("/empty.png", Page(b"", "image/png"), "empty_image_file"),
        ("/loop", redirect("/loop"), "failed_to_download_image"),
        ("/inside", redirect("http://169.254.169.254/latest"), "invalid_image_url"),
        ("/big.png", Page(RED, "image/png", length=20_001), "image_too_large"),
    ],
)
def test_what_cannot_be_fetched_as_an_image_is_refused(
    open_gateway: Gateway, vllm: ScriptedVLLM, web: Web, path: str, page: Page, code: str
) -> None:
    web.pages[path] = page
    asked = len(vllm.requests)
    answer = create(open_gateway, user(said("x"), image(web.url(path))))
    assert refusal(answer) == ("input[0].content[1].image_url", code)
    assert len(vllm.requests) == asked


def test_urls_inside_the_network_are_refused(gateway: Gateway, web: Web) -> None:
    asked = len(web.asked)
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
        answer = create(gateway, user(image(web.url("/real.png", host=host))))
        assert refusal(answer) == ("input[0].content[0].image_url", "invalid_image_url"), host
    assert len(web.asked) == asked


def test_too_many_urls_are_refused(open_gateway: Gateway, web: Web) -> None:
    for n in range(4):
        web.pages[f"/{n}.png"] = Page(png(n), "image/png")
    three = [image(web.url(f"/{n}.png")) for n in range(3)]
    assert create(open_gateway, user(*three)).status_code == 200
    _, code = refusal(create(open_gateway, user(*three, image(web.url("/3.png")))))
    assert code == "unsupported_value"


def test_image_urls_can_be_refused_or_left_to_the_model_server(
    vllm: ScriptedVLLM, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> None:
    web.pages["/real.png"] = Page(RED, "image/png")
    url = web.url("/real.png")
    folder = tmp_path_factory.mktemp("gateway")
    asked = len(web.asked)
    for choice in ("pass", "refuse"):
        gateway = Gateway(
            sqlite_database(folder),
            folder,
            upstream=vllm.url,
            settings={"MEDIA_URLS": choice},
            migrate=choice == "pass",
        )
        answer = create(gateway, user(image(url)))
        chat = gateway.http.post(
            "/v1/chat/completions",
            json={"model": "tiny", "messages": [{"role": "user", "content": [chat_image(url)]}]},
        )
        if choice == "pass":
            assert chat.status_code == 200
            assert vllm.chats[-1].body["messages"][0]["content"] == [chat_image(url)]
            assert vllm.chats[-2].body["messages"][0]["content"] == [
                {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
            ]
            passed = answer.json()["id"]
        else:
            where = ("input[0].content[0].image_url", "unsupported_value")
            assert refusal(answer) == where
            assert refusal(chat) == ("messages[0].content[0].image_url", "unsupported_value")
            # What was passed on once is not passed on after the operator has thought better of it.
            later = create(gateway, user(said("x")), previous_response_id=passed)
            assert refusal(later) == ("input", "unsupported_value")
        gateway.close()
    assert len(web.asked) == asked


def test_what_is_too_large_is_refused(open_gateway: Gateway) -> None:
    large = RED + bytes(20_000)
    answer = create(open_gateway, user(image(large)))
    assert refusal(answer) == ("input[0].content[0].image_url", "image_too_large")
    answer = create(open_gateway, user(document(b"x" * 20_001)))
    assert refusal(answer) == ("input[0].content[0].file_data", "file_too_large")


def test_a_prompt_holds_so_many_bytes_of_media_and_no_more(open_gateway: Gateway) -> None:
    pictures = [image(png(n) + bytes(19_000)) for n in range(3)]
    first = create(open_gateway, user(*pictures[:2])).json()
    assert create(open_gateway, user(said("x")), previous_response_id=first["id"]).is_success
    answer = create(open_gateway, user(pictures[2]), previous_response_id=first["id"])
    assert refusal(answer) == ("input", "context_length_exceeded")
