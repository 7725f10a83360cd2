"""The way out of alarms by a webhook. Imported where config.toml names one: HTTP and TLS take memory that a daemon can do without."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from daemon.courier import Carry, Letter
from daemon.secrecy import FROM_ENVIRONMENT, NOT_SET


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message is for the address that config.toml names, and for no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def by_webhook(address: str, timeout_s: float) -> Carry:
    """POST everything as JSON. Only the host is ever named: the rest of such an address is often a secret."""
    opener = urllib.request.build_opener(_NoRedirect)
    host = urlsplit(address).hostname or "?"

    def carry(letter: Letter, ending: threading.Event) -> str:
        if address == FROM_ENVIRONMENT:
            return NOT_SET
        request = urllib.request.Request(
            address,
            data=json.dumps(letter.payload).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "alscope"},
            method="POST",
        )
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                status = int(answer.status)
        except urllib.error.HTTPError as e:
            e.close()
            return f"{host}: answered {e.code}"
        except (OSError, ValueError, http.client.HTTPException) as e:
            reason = getattr(e, "reason", e)
            return f"{host}: cannot be reached ({getattr(reason, 'strerror', None) or reason})"
        return "" if 200 <= status < 300 else f"{host}: answered {status}"

    return carry
