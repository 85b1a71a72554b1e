"""Leased connections, and VM calls on them."""
