"""Downloads: guarded on every connection, limited in time and size."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from apps.tools.download import Downloaded, DownloadError, TooLarge, download
from apps.tools.urlguard import Refused, URLGuard
from tests.web import Page, Web, redirect

NAMES = {
    "media.test": ["127.0.0.1"],
    "inside.test": ["10.0.0.1"],
    "nowhere.test": [],
}


async def resolve(host: str, port: int) -> list[str]:
    """Names of this test; whatever else is asked does not exist."""
    if host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    return NAMES[host]


class PublicHere(URLGuard):
    """Takes the address of the test's server for a public one. Nothing else changes."""

    def check_address(self, address: str) -> None:
        if address != "127.0.0.1":
            super().check_address(address)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


def fetch(
    url: str, *, guard: URLGuard | None = None, largest: int = 1000, limit: float = 20
) -> Downloaded:
    guard = guard or PublicHere(resolve=resolve)
    return asyncio.run(download(url, guard=guard, largest=largest, time_limit=limit))


def test_what_is_there_is_fetched_with_what_its_server_calls_it(web: Web) -> None:
    web.pages["/a"] = Page(b"caf\xe9", "text/plain; charset=latin-1")
    found = fetch(web.url("/a", host="media.test"))
    assert found == Downloaded(
        web.url("/a", host="media.test"), "text/plain", "latin-1", b"caf\xe9"
    )


def test_requests_carry_nothing_of_the_client(web: Web) -> None:
    web.pages["/a"] = Page(b"x")
    fetch(web.url("/a"))
    (sent,) = web.headers
    assert sent.keys() == {"host", "connection", "accept", "accept-encoding", "user-agent"}
    assert sent["accept-encoding"] == "identity"


def test_a_name_is_looked_up_once_and_its_judged_address_used(web: Web) -> None:
    """A name that has another address at the second look-up cannot matter: there is none."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    web.pages["/a"] = Page(b"x")
    guard = PublicHere(resolve=rebinding)
    assert fetch(web.url("/a", host="rebinding.test"), guard=guard).data == b"x"
    assert next(answers) == ["10.0.0.1"]


def test_a_name_is_judged_anew_after_a_redirect_to_itself(web: Web) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    web.pages["/a"] = redirect("/b")
    with pytest.raises(Refused, match="public"):
        fetch(web.url("/a", host="rebinding.test"), guard=PublicHere(resolve=rebinding))
    assert web.asked == ["/a"]


@pytest.mark.parametrize(
    "host",
    [
        "inside.test",
        "10.0.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "0.0.0.0",
        "169.254.169.254",
        "127.0.0.2",
        "[fe80::1]",
    ],
)
def test_private_addresses_are_refused_by_name_and_by_number(web: Web, host: str) -> None:
    with pytest.raises(Refused, match="public"):
        fetch(web.url("/a", host=host))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "①②⑦.0.0.1"])
def test_old_spellings_of_addresses_lead_nowhere(web: Web, host: str) -> None:
    web.pages["/a"] = Page(b"x")
    with pytest.raises((Refused, DownloadError)):
        fetch(web.url("/a", host=host), guard=URLGuard())
    assert web.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://inside.test/",
        "http://[::1]/",
        "//169.254.169.254/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_redirects_to_private_addresses_are_refused(web: Web, target: str) -> None:
    web.pages["/a"] = redirect(target)
    with pytest.raises(Refused, match="public"):
        fetch(web.url("/a"))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("file:///etc/passwd", "http"),
        ("http://u:p@media.test/", "user name"),
        ("http://media.test:25/", "Port 25"),
    ],
)
def test_redirects_to_other_things_are_refused(web: Web, target: str, reason: str) -> None:
    web.pages["/a"] = redirect(target)
    with pytest.raises(Refused, match=reason):
        fetch(web.url("/a"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed(web: Web, status: int) -> None:
    web.pages |= {
        "/1": redirect("/2", status),
        "/2": redirect(web.url("/3", host="media.test"), status),
        "/3": redirect("4?x=1", status),
        "/4?x=1": Page(b"here"),
    }
    found = fetch(web.url("/1"))
    assert (found.url, found.data) == (web.url("/4?x=1", host="media.test"), b"here")


def test_a_fourth_redirect_is_not(web: Web) -> None:
    web.pages |= {f"/{n}": redirect(f"/{n + 1}") for n in range(5)}
    with pytest.raises(DownloadError, match="more than 3"):
        fetch(web.url("/0"))
    assert web.asked == ["/0", "/1", "/2", "/3"]


def test_a_redirect_without_a_target_fails(web: Web) -> None:
    web.pages["/a"] = Page(status=302)
    with pytest.raises(DownloadError):
        fetch(web.url("/a"))


@pytest.mark.parametrize("length", [-1, None])
def test_what_is_larger_than_the_limit_is_not_read(web: Web, length: int | None) -> None:
    web.pages["/a"] = Page(b"x" * 1001, length=length)
    with pytest.raises(TooLarge, match="1000 bytes"):
        fetch(web.url("/a"))


def test_what_is_as_large_as_the_limit_is_read(web: Web) -> None:
    web.pages["/a"] = Page(b"x" * 1000)
    assert len(fetch(web.url("/a")).data) == 1000


def test_a_server_that_keeps_silent_is_left(web: Web) -> None:
    late = threading.Event()
    web.pages["/a"] = Page(b"x", hangs=late)
    with pytest.raises(DownloadError, match=r"longer than 0\.2 seconds"):
        fetch(web.url("/a"), limit=0.2)
    late.set()


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_other_answers_than_200_fail(web: Web, status: int) -> None:
    web.pages["/a"] = Page(status=status)
    with pytest.raises(DownloadError, match=f"status {status}"):
        fetch(web.url("/a"))


def test_a_body_that_breaks_off_fails(web: Web) -> None:
    web.pages["/a"] = Page(b"x" * 10, length=20)
    with pytest.raises(DownloadError, match="broke off"):
        fetch(web.url("/a"))


def test_unknown_names_and_closed_ports_fail(unused_port: Callable[[], int]) -> None:
    with pytest.raises(DownloadError, match="not known"):
        fetch("http://unknown.test/")
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(f"http://media.test:{unused_port()}/")


@pytest.fixture
def unused_port() -> Callable[[], int]:
    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port: int = listening.getsockname()[1]
            return port

    return find


def test_private_networks_can_be_opened(web: Web) -> None:
    web.pages["/a"] = Page(b"x")
    guard = URLGuard(allow_private=True, resolve=resolve)
    assert fetch(web.url("/a", host="media.test"), guard=guard).data == b"x"
    with pytest.raises(Refused):
        fetch("http://169.254.169.254/", guard=guard)
