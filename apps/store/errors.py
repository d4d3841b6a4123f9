"""What callers of the store may catch."""

from __future__ import annotations


class StoreError(Exception):
    """Base."""


class ResponseNotFound(StoreError):
    """No such response in this project: unknown, deleted, foreign, not kept, or a chain through
    one of those."""


class StillRunning(StoreError):
    """The response has not ended: it cannot be continued yet."""


class UnknownCursor(StoreError):
    """The ``after`` of a list request names nothing in the list."""


class StoreUnavailable(StoreError):
    """The database did not answer, or not in time."""
