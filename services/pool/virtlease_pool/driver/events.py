"""libvirt's event loop: one thread, started before the first connection is opened, and never stopped.

Keepalive, close callbacks and events depend on it. libvirtaio, its asyncio twin, does not mix with threads.
"""

import logging
import threading

import libvirt

log = logging.getLogger(__name__)
_lock = threading.Lock()
_started = False


def start() -> None:
    """Starts the thread, once in a process."""
    global _started
    with _lock:
        if _started:
            return
        libvirt.virEventRegisterDefaultImpl()
        # libvirt would print every error; each is raised as an exception too.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        threading.Thread(target=_run, name="libvirt-events", daemon=True).start()
        _started = True


def _run() -> None:
    while True:
        if libvirt.virEventRunDefaultImpl() < 0:
            log.error("libvirt's event loop failed; keepalive and events may be late")
