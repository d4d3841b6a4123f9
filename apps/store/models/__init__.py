"""What is remembered: one file per aggregate."""

from apps.store.models.api_key import ApiKey
from apps.store.models.capability import Capability
from apps.store.models.configuration import Configuration
from apps.store.models.lease import Lease
from apps.store.models.media import Media, MediaUse
from apps.store.models.project import Project
from apps.store.models.response import Response, ResponsePayload, StoredItem

__all__ = [
    "ApiKey",
    "Capability",
    "Configuration",
    "Lease",
    "Media",
    "MediaUse",
    "Project",
    "Response",
    "ResponsePayload",
    "StoredItem",
]
