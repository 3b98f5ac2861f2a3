"""The functions that the model may call: Python functions, and those of MCP servers."""
