"""Places in this process: nobody holds more than a share of the answers under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from apps.api.conf import conf
from apps.api.errors import TooMany, Unavailable

RETRY_AFTER = 2.0


class Places:
    """How many each client holds. Memory is the right place: what is shared out is this process."""

    def __init__(self) -> None:
        self._held: Counter[Hashable] = Counter()

    def take(self, client: Hashable) -> None:
        """One place, to be given back. Raises TooMany when the client has its share, Unavailable
        when there is none for anybody."""
        self._check(client)
        self._held[client] += 1

    def give_back(self, client: Hashable) -> None:
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

    def _check(self, client: Hashable) -> None:
        if 0 < conf.MAX_STREAMS_PER_KEY <= self._held[client]:
            raise TooMany(
                f"{self._held[client]} requests of this client are under way; no more are taken "
                "at once.",
                retry_after=RETRY_AFTER,
            )
        if 0 < conf.MAX_STREAMS <= self._held.total():
            raise Unavailable("The gateway has too much to do.", retry_after=RETRY_AFTER)


places = Places()
