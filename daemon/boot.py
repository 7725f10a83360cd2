"""Before the daemon begins: where its words go, and which boot of the machine this is."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path


def boot_id() -> str:
    """Name of this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def set_up_logging(verbose: bool) -> None:
    """One line per event on stderr, where systemd's journal picks it up."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    logging.getLogger("watchdog").setLevel(logging.WARNING)
