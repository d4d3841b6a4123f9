"""How an app declares its settings: typed descriptors that read ``django.conf.settings``.

Each app lists its own in its ``conf.py``; ``responses_gateway.settings`` fills them from the
environment, and the configuration reference is generated from the same list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from django.conf import settings

T = TypeVar("T", str, int, float, bool, list[str])

_kept = object.__getattribute__
"""What Django's settings have read once and keep until it changes, without their detour in Python."""


class Setting(Generic[T]):
    """One setting: its type is its default's; the name is ``prefix`` and the attribute's name."""

    def __init__(
        self,
        default: T,
        help: str,  # noqa: A002 - the word that argparse and Django use
        *,
        prefix: str = "GATEWAY_",
        secret: bool = False,
        choices: tuple[str, ...] = (),
        minimum: float | None = None,
    ) -> None:
        self.default: T = default
        self.help, self.prefix = help, prefix
        self.secret, self.choices, self.minimum = secret, choices, minimum
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.prefix + name

    def __get__(self, instance: object, owner: type | None = None) -> T:
        try:
            value: T = _kept(settings, self.name)
        except AttributeError:  # not read yet
            value = getattr(settings, self.name)
        return value


class SettingsGroup:
    """Base of the settings list of one app. Attribute access gives the value in force."""

    @classmethod
    def declared(cls) -> Iterator[Setting[Any]]:
        """Yield the declarations, not the values, in the order in which they are written."""
        for value in vars(cls).values():
            if isinstance(value, Setting):
                yield value
