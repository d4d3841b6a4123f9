"""MCP: the servers that operators set up, and calls of their tools."""
