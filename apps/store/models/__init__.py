"""What is remembered: one file per aggregate."""

from apps.store.models.api_key import ApiKey
from apps.store.models.capability import Capability
from apps.store.models.configuration import Configuration
from apps.store.models.container import CodeCall, Container, ContainerFile
from apps.store.models.file import File
from apps.store.models.idempotency_key import IdempotencyKey
from apps.store.models.lease import Lease
from apps.store.models.mcp_record import McpApproval, McpCall
from apps.store.models.mcp_server import McpHealth, McpServer, McpTool
from apps.store.models.media import Media, MediaUse
from apps.store.models.project import Project
from apps.store.models.response import Response, ResponsePayload, StoredItem

__all__ = [
    "ApiKey",
    "Capability",
    "CodeCall",
    "Configuration",
    "Container",
    "ContainerFile",
    "File",
    "IdempotencyKey",
    "Lease",
    "McpApproval",
    "McpCall",
    "McpHealth",
    "McpServer",
    "McpTool",
    "Media",
    "MediaUse",
    "Project",
    "Response",
    "ResponsePayload",
    "StoredItem",
]
