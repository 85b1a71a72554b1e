"""All of virtlease in one process, and the `virtlease` command."""
