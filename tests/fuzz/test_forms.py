"""Uploads that are wrong in every way a form can be: each becomes a file that can be read again, or is
refused in the API's words."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.soundness import MANY, check_error
from tests.gateway import Gateway

Part = tuple[str, str | None, bytes]  # name, filename, content

NAMES = st.sampled_from(
    ["file", "purpose", "expires_after[anchor]", "expires_after[seconds]", "file_id", ""]
) | st.text(max_size=10)
FILENAMES = st.sampled_from(
    ["a.txt", "../../etc/passwd", "a\x00b", "\\\\host\\share", "é" * 200, '";x="', "..", "con/"]
) | st.text(max_size=300)
CONTENTS = (
    st.sampled_from([b"user_data", b"vision", b"created_at", b"3600", b"-1", "٣".encode(), b"9" * 400])
    | st.binary(max_size=200)
)  # fmt: skip
PARTS = st.lists(st.tuples(NAMES, st.none() | FILENAMES, CONTENTS), max_size=6)
GOOD: list[Part] = [("purpose", None, b"user_data"), ("file", "a.txt", b"content")]
BOUNDARIES = st.sampled_from(["b", "", "x" * 300, "b;", "ü", '"b"'])


def written(parts: list[Part], boundary: str) -> bytes:
    """The form as clients write it, whatever the names have in them."""
    body = b""
    for name, filename, content in parts:
        place = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        head = f"--{boundary}\r\nContent-Disposition: {place}\r\n\r\n"
        body += head.encode("utf-8", "surrogatepass") + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def post(gateway: Gateway, path: str, body: bytes, boundary: str = "b") -> httpx.Response:
    kind = f"multipart/form-data; boundary={boundary}".encode()
    return gateway.http.post(path, content=body, headers={b"content-type": kind})


def check(gateway: Gateway, answer: httpx.Response, path: str) -> None:
    """What was taken can be read, and goes away; what was refused has a reason."""
    if answer.status_code >= 400:
        assert answer.status_code < 500, answer.text
        check_error(answer)
        return
    made = answer.json()
    read = gateway.http.get(f"{path}/{made['id']}/content")
    assert (read.status_code, len(read.content)) == (200, made["bytes"])
    assert read.headers["content-disposition"].startswith("attachment;")
    assert gateway.http.get(f"{path}/{made['id']}").json() == made
    assert gateway.http.delete(f"{path}/{made['id']}").status_code == 200
    assert gateway.http.get(f"{path}/{made['id']}").status_code == 404


@pytest.fixture(scope="module")
def places(gateway: Gateway) -> tuple[str, str]:
    """Where files are put: the project's, and those of a container."""
    made: dict[str, Any] = gateway.http.post("/v1/containers", json={"name": "c"}).json()
    return "/v1/files", f"/v1/containers/{made['id']}/files"


@pytest.mark.parametrize("place", [0, 1])
def test_any_form_is_taken_or_refused(
    gateway: Gateway, places: tuple[str, str], place: int
) -> None:
    @MANY
    @given(parts=PARTS, good=st.booleans())
    def ask(parts: list[Part], good: bool) -> None:
        body = written([*GOOD, *parts] if good else parts, "b")
        check(gateway, post(gateway, places[place], body), places[place])

    ask()


@pytest.mark.parametrize("place", [0, 1])
def test_a_form_that_is_cut_or_has_other_bytes_is_taken_or_refused(
    gateway: Gateway, places: tuple[str, str], place: int
) -> None:
    @MANY
    @given(cut=st.integers(0, 250), inserted=st.binary(max_size=20), boundary=BOUNDARIES)
    def ask(cut: int, inserted: bytes, boundary: str) -> None:
        body = written(GOOD, "b")
        body = body[:cut] + inserted + body[cut + len(inserted) :]
        check(gateway, post(gateway, places[place], body, boundary), places[place])

    ask()


def test_any_json_in_the_place_of_a_form_is_refused(
    gateway: Gateway, places: tuple[str, str]
) -> None:
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["file_id", "file", "x"]), inner, max_size=3)
        ),
    )

    @MANY
    @given(body=anything)
    def ask(body: object) -> None:
        for place in places:
            answer = gateway.http.post(place, json=body)
            assert 400 <= answer.status_code < 500, answer.text
            check_error(answer)

    ask()
