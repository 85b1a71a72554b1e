"""Sessions as mappings."""
