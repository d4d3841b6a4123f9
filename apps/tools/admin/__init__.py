"""The operators' pages of hosted tools. The models are the store's; what is done with them needs
the tools themselves."""

from apps.tools.admin.containers import ContainerAdmin
from apps.tools.admin.mcp_records import McpApprovalAdmin, McpCallAdmin
from apps.tools.admin.mcp_servers import McpServerAdmin

__all__ = ["ContainerAdmin", "McpApprovalAdmin", "McpCallAdmin", "McpServerAdmin"]
