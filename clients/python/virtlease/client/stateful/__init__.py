"""Functions that keep their state in a session between calls."""
