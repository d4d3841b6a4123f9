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


class FileNotFound(StoreError):
    """No such file in this project: unknown, deleted, expired or foreign."""


class ContainerNotFound(StoreError):
    """No such container, or file in it, in this project."""


class ContainerExpired(StoreError):
    """The container was not used for too long: it can be looked at, and not be used."""


class ContainerFull(Exception):
    """The container's files would be too many, or too large together. The message says which."""


class ContainerMoved(StoreError):
    """A later node holds the container: what an earlier one made does not count any more."""


class StoreUnavailable(StoreError):
    """The database did not answer, or not in time."""


class StorageUnavailable(StoreError):
    """The file storage does not take or give the bytes. The message is for clients."""
