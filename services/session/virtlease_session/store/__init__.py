"""The stores behind `ports.SessionStore`."""
