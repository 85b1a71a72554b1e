"""What stands before the MCP server on its way from HTTP, one ASGI layer a file, outermost first:

probes, access_log, drain, whitespace, the SDK's limit of bodies, FastMCP's own (names, authentication), rates, eras.
"""
