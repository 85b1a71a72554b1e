"""The MCP gateway: every annotated RPC of any gRPC service as a tool. It knows no command by name."""
