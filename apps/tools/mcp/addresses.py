"""Which URLs operators may enter. Private networks are theirs to use; what belongs to one link only
and the metadata of clouds is not."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

from apps.tools.urlguard import Refused, URLGuard

LONGEST_URL = 2048


def operator_guard() -> URLGuard:
    """Judges the URLs of configured servers, and their addresses at the moment of connecting."""
    return URLGuard(allow_private=True)


def check_operator_url(url: str) -> None:
    """Raises Refused, with a message for the operator. A name is judged when it is connected to."""
    if len(url) > LONGEST_URL:
        raise Refused("It is too long.")
    guard = operator_guard()
    host = guard.parse(url).host or ""
    with contextlib.suppress(ValueError):  # a name
        address = ip_address(host)
        try:
            guard.check_address(str(address))
        except Refused:
            raise Refused(
                "Link-local addresses, and those where clouds keep their secrets, are not reached."
            ) from None
