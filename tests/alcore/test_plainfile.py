"""A file that is exchanged behind our back is never followed elsewhere, and never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from alcore.errors import SourceChangedError
from alcore.plainfile import NotPlainError, open_plain
from tests.alcore.stages.label_desk import Desk, drawing


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder", "device", "socket"])
def test_only_plain_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    (tmp_path / "secret").write_bytes(b"secret")
    if kind == "link":
        path.symlink_to(tmp_path / "secret")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(path))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(NotPlainError, match="no plain file"):
        open_plain(path)
    assert os.listdir("/proc/self/fd") == before
    with open_plain(tmp_path / "secret") as file:
        assert file.read() == b"secret"


def test_a_label_that_became_a_link_is_not_read(tmp_path: Path) -> None:
    """The very bytes that were received, but by way of a link: who drew it may not be allowed to read them."""
    desk = Desk(tmp_path)
    desk.save(drawing().astype(np.uint16))
    os.rename(desk.inbox, tmp_path / "elsewhere.tif")
    desk.inbox.symlink_to(tmp_path / "elsewhere.tif")
    with pytest.raises(SourceChangedError, match="was exchanged since it was received"):
        desk.submit()
