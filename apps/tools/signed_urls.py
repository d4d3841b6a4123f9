"""Addresses that need no key: whoever has one may do what it says until it expires.

Sandbox workers fetch and store the files of a call by one, clients see an image by another. What is
allowed is in the address itself, under the gateway's secret key: any of its processes can check
it, and one kind of grant cannot be taken for another.
"""

from __future__ import annotations

import time
from typing import NamedTuple, TypeVar

from django.core import signing

PREFIX = "/v1/signed"


class ContainerGrant(NamedTuple):
    """To read the files of a container, and to write new ones as long as no node of a later epoch
    holds it. GET ``ADDRESS/FILE_ID``; PUT ``ADDRESS?path=PATH``."""

    project_id: int
    container_id: str
    epoch: int


class MediaGrant(NamedTuple):
    """To read one image that responses refer to. GET ``ADDRESS``."""

    project_id: int
    sha256: str


PLACES: dict[type[ContainerGrant | MediaGrant], str] = {
    ContainerGrant: "containers",
    MediaGrant: "media",
}

G = TypeVar("G", ContainerGrant, MediaGrant)


class NotGranted(Exception):
    """The address was not made here, for this, or it has expired."""


def path_of(kind: type[ContainerGrant | MediaGrant]) -> str:
    """What the paths of such addresses begin with; a slash and the token follow."""
    return f"{PREFIX}/{PLACES[kind]}"


def signed_path(grant: ContainerGrant | MediaGrant, *, seconds: float) -> str:
    """The path of an address that is good for so long; a scheme and a host belong before it."""
    claim = [int(time.time() + seconds), *grant]
    return f"{path_of(type(grant))}/{signing.dumps(claim, salt=_salt(type(grant)))}"


def granted(kind: type[G], token: str) -> G:
    """What the token in such a path allows. Raises NotGranted."""
    expires_at, grant = _read(kind, token)
    if time.time() >= expires_at:
        raise NotGranted
    return grant


def once_granted(kind: type[G], token: str) -> G:
    """What it allows, or has allowed. Raises NotGranted for what was not made here."""
    return _read(kind, token)[1]


def _read(kind: type[G], token: str) -> tuple[int, G]:
    try:
        expires_at, *values = signing.loads(token, salt=_salt(kind))
    except (signing.BadSignature, ValueError) as exc:
        raise NotGranted from exc
    return expires_at, kind(*values)


def _salt(kind: type[object]) -> str:
    return f"{__name__}.{kind.__name__}"
