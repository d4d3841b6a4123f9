"""What is wrong with an image or file is said by name, before the model server is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.media.parts import RED, create, image, refusal, said, user
from tests.gateway import Gateway
from tests.web import data_url, pdf


@pytest.mark.parametrize(
    ("part", "where", "code"),
    [
        (image("data:image/png;base64,!!!!"), ".image_url", "invalid_base64_image"),
        (image("data:image/png;base64"), ".image_url", "invalid_base64_image"),
        (image("data:image/png;base64,"), ".image_url", "empty_image_file"),
        (image(data_url(b"<svg/>", "image/svg+xml")), ".image_url", "invalid_image_format"),
        (image(data_url(RED, "text/plain")), ".image_url", "unsupported_image_media_type"),
        (image("file:///etc/passwd"), ".image_url", "invalid_image_url"),
        (image("gateway-media:" + "0" * 64), ".image_url", "invalid_image_url"),
        (image("/cat.png"), ".image_url", "invalid_image_url"),
        (image("http://x.test/" + "a" * 9000), ".image_url", "invalid_image_url"),
        (image("data:" + "a" * 20_971_520), ".image_url", "string_above_max_length"),
        (image(RED, detail="best"), ".detail", "invalid_value"),
        ({"type": "input_image"}, "", "missing_required_parameter"),
        ({"type": "input_image", "file_id": "file-1"}, ".file_id", "file_not_found"),
        (
            {"type": "input_image", "image_url": {"url": data_url(RED)}},
            ".image_url",
            "invalid_type",
        ),
        ({"type": "input_file", "file_id": "file-1"}, ".file_id", "file_not_found"),
        ({"type": "input_file", "filename": "a.txt"}, "", "missing_required_parameter"),
        ({"type": "input_file", "file_data": "%%%"}, ".file_data", "invalid_value"),
        ({"type": "input_file", "file_data": "gateway-media:0"}, ".file_data", "invalid_value"),
        ({"type": "input_file", "file_url": "file:///etc/passwd"}, ".file_url", "invalid_value"),
        (
            {"type": "input_file", "file_data": data_url(RED), "filename": "a.png"},
            ".file_data",
            "unsupported_file_type",
        ),
        (
            {"type": "input_file", "file_data": data_url(b"PK\x03\x04\x00\x00", "")},
            ".file_data",
            "unsupported_file_type",
        ),
        (
            {"type": "input_file", "file_data": data_url(b"caf\xe9", "text/plain")},
            ".file_data",
            "unsupported_file_type",
        ),
        ({"type": "input_file", "file_data": data_url(pdf(""), "")}, ".file_data", "invalid_value"),
        ({"type": "input_audio", "input_audio": {}}, ".type", "unsupported_value"),
    ],
)
def test_what_is_wrong_with_a_part_is_said_by_name(
    gateway: Gateway, part: dict[str, Any], where: str, code: str
) -> None:
    answer = create(gateway, user(said("x"), part))
    assert refusal(answer) == (f"input[0].content[1]{where}", code)


def test_errors_in_outputs_name_the_output(gateway: Gateway) -> None:
    answer = create(
        gateway,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [image("data:,x")]},
    )
    assert refusal(answer) == ("input[1].output[0].image_url", "unsupported_image_media_type")


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_only_users_send_images(gateway: Gateway, role: str) -> None:
    answer = create(gateway, {"role": role, "content": [image(RED)]})
    assert refusal(answer) == ("input[0].content[0].type", "unsupported_value")
