"""libvirt: the only folder that imports it."""

from virtlease_pool.driver.driver import LibvirtDriver

__all__ = ["LibvirtDriver"]
