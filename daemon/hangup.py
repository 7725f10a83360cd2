"""What a SIGHUP means: the terminal is gone, or config.toml is to be read again."""

from __future__ import annotations

import os
import signal


class Hangup:
    """Asked at the signal; what there was at the start is looked at when it is made."""

    def __init__(self) -> None:
        self._had_terminal = _has_terminal()
        self._ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: to outlive the terminal

    def ends(self) -> bool:
        """Is the terminal gone in which this process was started, and was nobody to outlive it?"""
        return self._had_terminal and not self._ignored and not _has_terminal()


def _has_terminal() -> bool:
    """Is there a controlling terminal?"""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
