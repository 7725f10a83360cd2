"""Fetching weights from a real server on this machine: cut off in the middle, continued, wrong, refused, no room."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.errors import DiskFullError, PermanentError, TransientError
from alcore.weights import fetch as fetching
from alcore.weights import places
from alcore.weights.catalogue import CATALOGUE, Entry, WeightFile
from tests.faults.small_disk import small_disk

BYTES = np.random.default_rng(0).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves `files` by path; `cut` ends a connection after so many bytes, once; `slow_s` waits between pieces."""

    files: dict[str, bytes]
    cut: int | None = None
    slow_s: float = 0.0
    ranges: bool = True
    status: int = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked = {}, []

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """GET with ranges; POST as users.deepcell.org answers it."""

    server: Server

    def do_GET(self) -> None:
        """A file, or the part that is asked for."""
        self.server.asked.append(self.headers.get("Range", ""))
        content = self.server.files.get(self.path)
        if content is None or self.server.status != 200:
            self.send_error(404 if content is None else self.server.status)
            return
        start = 0
        if self.server.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end, self.server.cut = self.server.cut or len(content), None
        for at in range(start, end, 100_000):
            self.wfile.write(content[at : min(at + 100_000, end)])
            time.sleep(self.server.slow_s)
        self.close_connection = True

    def do_POST(self) -> None:
        """The address of a download, for those with the right key."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.headers.get("X-Api-Key") != "right":
            self.send_error(403)
            return
        answer = json.dumps({"url": self.server.base + "/" + body.removeprefix("s3_key="), "size": "3 MB"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.files["/w.pt"] = BYTES
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def entry(server: Server, checksum: str = "", path: str = "/w.pt") -> Entry:
    file = WeightFile("w.pt", server.base + path, checksum or sha256(BYTES))
    return Entry("w", "micro_sam", "for tests", "public domain", 3, (file,))


def quiet(name: str, have: int, total: int) -> None:
    """Nobody watches."""


def test_fetches_with_progress_and_not_twice(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    (path,) = fetching.fetch(entry(server), tmp_path / "new" / "folder", lambda *a: told.append(a))
    assert path.read_bytes() == BYTES and [p.name for p in path.parent.iterdir()] == ["w.pt"]
    assert told[-1] == ("w.pt", len(BYTES), len(BYTES)) and [t[1] for t in told] == sorted(t[1] for t in told)
    fetching.fetch(entry(server), path.parent, quiet)
    assert len(server.asked) == 1
    path.write_bytes(b"damaged")
    fetching.fetch(entry(server), path.parent, quiet)
    assert path.read_bytes() == BYTES


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_continued(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cut, server.ranges = 1_250_000, ranges
    with pytest.raises(
        TransientError, match=r"w\.pt: the connection ended after 1\.2 of 3\.0 MB; run it again to continue"
    ):
        fetching.fetch(entry(server), tmp_path, quiet)
    assert (tmp_path / "w.pt.part").stat().st_size == 1_250_000 and not (tmp_path / "w.pt").exists()
    (path,) = fetching.fetch(entry(server), tmp_path, quiet)
    assert path.read_bytes() == BYTES and server.asked == ["", "bytes=1250000-"]


def test_a_kill_in_the_middle_is_continued(server: Server, tmp_path: Path) -> None:
    server.slow_s = 0.05
    code = (
        "import sys\nfrom pathlib import Path\nfrom alcore.weights import fetch\n"
        "from alcore.weights.catalogue import Entry, WeightFile\n"
        "file = WeightFile('w.pt', sys.argv[1], sys.argv[2])\n"
        "fetch.BLOCK = 100_000\n"
        "fetch.fetch(Entry('w', 'micro_sam', '', '', 3, (file,)), Path(sys.argv[3]), lambda *a: None)"
    )
    arguments = [server.base + "/w.pt", sha256(BYTES), str(tmp_path)]
    child = subprocess.Popen([sys.executable, "-c", code, *arguments])
    part = tmp_path / "w.pt.part"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (part.exists() and part.stat().st_size > 500_000):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    have = part.stat().st_size
    assert 500_000 < have < len(BYTES)
    server.slow_s = 0
    (path,) = fetching.fetch(entry(server), tmp_path, quiet)
    assert path.read_bytes() == BYTES and server.asked[-1] == f"bytes={have}-"


def test_another_checksum_is_refused_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"its checksum is sha256:\w+, not sha256:0000, and it was deleted"):
        fetching.fetch(entry(server, "sha256:0000"), tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "w.pt.part").write_bytes(b"x" * len(BYTES))  # complete, but of another file
    with pytest.raises(PermanentError, match="was deleted"):
        fetching.fetch(entry(server), tmp_path, quiet)
    (path,) = fetching.fetch(entry(server), tmp_path, quiet)
    assert path.read_bytes() == BYTES


@pytest.mark.parametrize(
    ("status", "path", "error", "message"),
    [
        (200, "/gone.pt", PermanentError, r"no such file any more \(404\)"),
        (503, "/w.pt", TransientError, "answers 503; try again later"),
        (403, "/w.pt", PermanentError, r"refuses the key \(403\)"),
    ],
)
def test_what_the_server_says_is_said(
    server: Server, tmp_path: Path, status: int, path: str, error: type[Exception], message: str
) -> None:
    server.status = status
    with pytest.raises(error, match=message):
        fetching.fetch(entry(server, path=path), tmp_path, quiet)


def test_nobody_listens(tmp_path: Path) -> None:
    file = WeightFile("w.pt", "http://127.0.0.1:9/w.pt", "sha256:0")
    with pytest.raises(TransientError, match=r"w\.pt: .*refused.*; run it again to continue"):
        fetching.fetch(Entry("w", "micro_sam", "", "", 3, (file,)), tmp_path, quiet)


def test_a_disk_that_is_full_is_said_and_the_part_stays(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "small", 2) as disk:
        with pytest.raises(DiskFullError, match=r"w\.pt needs 3 MB more: .*the disk is full"):
            fetching.fetch(entry(server), disk, quiet)
        monkeypatch.setattr(fetching, "SPARE_BYTES", -(1 << 30))  # what another program takes meanwhile
        with pytest.raises(DiskFullError, match="the disk is full"):
            fetching.fetch(entry(server), disk, quiet)
        assert (disk / "w.pt.part").stat().st_size > 1_000_000 and not (disk / "w.pt").exists()


def test_a_key_opens_an_archive_of_which_only_the_weights_are_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (("m/tiny.pt", BYTES), ("../escape.pt", b"x"), ("m/readme", b"x")):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    server.files["/models/a.tar.gz"] = packed.getvalue()
    md5 = "md5:" + hashlib.md5(packed.getvalue(), usedforsecurity=False).hexdigest()
    file = WeightFile("a.tar.gz", server.base + "/api?s3_key=models/a.tar.gz", md5)
    tiny = Entry("tiny", "cellsam", "", "non-commercial", 3, (file,), "DEEPCELL_ACCESS_TOKEN", "m/tiny.pt")
    monkeypatch.setitem(CATALOGUE, "tiny", tiny)
    folder = tmp_path / "weights"
    with pytest.raises(PermanentError, match="set DEEPCELL_ACCESS_TOKEN to it; non-commercial"):
        fetching.fetch(tiny, folder, quiet)
    with pytest.raises(PermanentError, match="refuses the key"):
        fetching.fetch(tiny, folder, quiet, token="wrong")
    assert fetching.fetch(tiny, folder, quiet, token="right") == [folder / "tiny.pt"]
    assert (folder / "tiny.pt").read_bytes() == BYTES
    assert [p.name for p in folder.iterdir()] == ["tiny.pt"] and not (tmp_path / "escape.pt").exists()
    server.files.clear()
    fetching.fetch(tiny, folder, quiet, token="right")  # not asked again


def test_weights_are_found_where_the_lab_or_other_programs_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MICROSAM_CACHEDIR", raising=False)
    assert places.find("vit_b_lm") is None
    other = tmp_path / "cache" / "micro_sam" / "models"
    other.mkdir(parents=True)
    (other / "vit_b_lm").write_bytes(b"1")
    assert places.find("vit_b_lm") is None, "its decoder is missing"
    (other / "vit_b_lm_decoder").write_bytes(b"2")
    assert places.find("vit_b_lm") == (other / "vit_b_lm", other / "vit_b_lm_decoder")
    lab = tmp_path / "lab"
    lab.mkdir()
    for name in ("vit_b_lm", "vit_b_lm_decoder"):
        (lab / name).write_bytes(b"3")
    assert places.find("vit_b_lm", lab) == (lab / "vit_b_lm", lab / "vit_b_lm_decoder")
    assert places.find("no such model") is None


def test_a_digest_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"one")
    assert places.digest(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"three")
    os.utime(path, (1, 1))
    assert places.digest(path) == hashlib.sha256(b"three").hexdigest()
    with pytest.raises(PermanentError, match=r"absent: weights cannot be read"):
        places.digest(tmp_path / "absent")


def test_the_catalogue_agrees_with_the_library_that_publishes_the_models() -> None:
    pytest.importorskip("micro_sam", reason='pip install --no-deps "micro-sam==1.8.*"')
    from micro_sam.util import models

    registry = models()
    for made in (e for e in CATALOGUE.values() if e.backend == "micro_sam"):
        for file in made.files:
            assert registry.registry[file.name] == file.checksum and registry.urls[file.name] == file.url
        assert (f"{made.name}_decoder" in registry.registry) == (len(made.files) == 2)


def test_a_key_is_not_taken_along_to_another_address(server: Server, tmp_path: Path) -> None:
    """Who hands out addresses sends us on; what was meant for them alone does not come along."""
    heard: list[tuple[str, str | None]] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(("asked", self.headers.get("X-Api-Key")))
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/other")
            self.end_headers()

        def do_GET(self) -> None:
            heard.append(("sent on", self.headers.get("X-Api-Key")))
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=other.serve_forever, args=(0.05,))
    thread.start()
    try:
        file = WeightFile("a.tar.gz", f"http://127.0.0.1:{other.server_address[1]}/api?s3_key=a", "md5:0")
        wanted = Entry("tiny", "cellsam", "", "free", 3, (file,), "DEEPCELL_ACCESS_TOKEN", "m/tiny.pt")
        with pytest.raises(PermanentError):
            fetching.fetch(wanted, tmp_path, quiet, token="right")
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
    assert heard == [("asked", "right"), ("sent on", None)]
