"""The connection-pool service: leases of pooled libvirt connections, and VM calls on them."""
