"""Writing a support bundle: a zip that is only ever seen whole, in which each part that could not be had says why."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alcore.artifact import fsync_dir
from daemon.errors import UsageError
from daemon.redaction import Redaction

Part = Callable[[], Any]
"""Gives text, or what JSON can hold."""


def default_name(now: float) -> Path:
    """The name of a bundle in the present folder. now: seconds since the epoch."""
    return Path(f"alscope-support-{time.strftime('%Y-%m-%d', time.localtime(now))}.zip")


def write_bundle(target: Path, parts: Iterator[tuple[str, Part]], redaction: Redaction, about: str) -> dict[str, str]:
    """Write the zip so that it is only ever seen whole; returns what could not be had: part -> why.

    A part gives text, or what JSON can hold. Raises UsageError where `target` exists or cannot be made.
    """
    if target.exists():
        raise UsageError(f"{target}: is there already; name another file")
    folder = target.absolute().parent
    tmp = folder / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    lacking: dict[str, str] = {}
    try:
        with open(os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as bundle:
                said = [about, ""]
                for name, part in parts:
                    try:
                        made = part()
                        text = redaction.text(made) if isinstance(made, str) else _json(redaction.value(made))
                    except Exception as e:  # what is broken is the reason for a bundle: it must not end it
                        lacking[name] = redaction.text(str(e) or type(e).__name__)
                        said.append(f"{name}: not here: {lacking[name]}")
                        continue
                    bundle.writestr(name, text.encode(errors="backslashreplace"))
                    said.append(f"{name}: {len(text)} characters")
                bundle.writestr("contents.txt", "\n".join(said).encode(errors="backslashreplace") + b"\n")
            f.flush()
            os.fsync(f.fileno())
        if target.exists():
            raise UsageError(f"{target}: is there already; name another file")
        os.rename(tmp, target)
    except OSError as e:
        raise UsageError(f"{target}: cannot be written ({e.strerror}); name a file where this user may write") from e
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or could not be made
            tmp.unlink()
    fsync_dir(folder)
    return lacking


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
