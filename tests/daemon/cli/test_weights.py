"""Weights from the command line: listed, fetched after their licence was seen, and missed by doctor; `auto` says why."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alcore.pseudo import packages
from alcore.weights.catalogue import CATALOGUE, Entry, WeightFile
from daemon import pseudo_choice
from daemon.config import load
from daemon.look import look
from daemon.planning.pseudo import PseudoPlans


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entry]:
    """Weights called "tiny" on a server of this machine; everything else is nowhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MICROSAM_CACHEDIR", raising=False)
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "tiny").write_bytes(b"weights" * 1000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "public")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    digest = "sha256:" + hashlib.sha256(b"weights" * 1000).hexdigest()
    file = WeightFile("tiny", f"http://127.0.0.1:{server.server_address[1]}/tiny", digest)
    made = Entry("tiny", "micro_sam", "tests", "do as you like", 1, (file,))
    monkeypatch.setitem(CATALOGUE, "tiny", made)
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def named(scene, text: str) -> None:
    """Put [pseudo] into config.toml."""
    old = scene.config.read_text()
    assert "[pseudo]" not in old
    scene.config.write_text(old + f"\n[pseudo]\n{text}\n")


def test_fetches_after_the_licence(scene, alscope, tiny, tmp_path):
    refused = alscope("models", "fetch", "tiny")
    assert refused.code == 64 and "do as you like" in refused.out and "--yes" in refused.err
    named(scene, 'weights = "lab"')
    done = alscope("models", "fetch", "tiny", "--yes")
    assert done.code == 0 and "licence: do as you like" in done.out
    assert (scene.config.parent / "lab" / "tiny").read_bytes() == b"weights" * 1000
    (row,) = [e for e in alscope("models", "weights", "--json").data if e["name"] == "tiny"]
    assert row["here"] == [str(scene.config.parent / "lab" / "tiny")]
    other = alscope("models", "fetch", "tiny", "--yes", "--folder", str(tmp_path / "stick"))
    assert other.code == 0 and (tmp_path / "stick" / "tiny").is_file()


def test_what_goes_wrong_is_one_line(alscope, tiny, monkeypatch):
    unknown = alscope("models", "fetch", "nothing")
    assert unknown.code == 64 and "no weights are called 'nothing'" in unknown.err
    monkeypatch.delenv("DEEPCELL_ACCESS_TOKEN", raising=False)
    key = alscope("models", "fetch", "cellsam_general", "--yes")
    assert key.code == 1 and "DEEPCELL_ACCESS_TOKEN" in key.err and "non-commercial" in key.err
    assert len(key.err.strip().splitlines()) == 1


def test_the_list_needs_no_config(scene, alscope, tiny):
    scene.config.unlink()
    done = alscope("models", "weights")
    assert done.code == 0 and "vit_b_em_organelles" in done.out and "CC BY 4.0" in done.out


def test_doctor_says_what_is_missing_and_how_to_get_it(scene, alscope, tiny, monkeypatch):
    def checks() -> list[dict[str, str]]:
        return [c for c in alscope("doctor", "--json").data if c["name"] == "pseudo-labels"]

    assert all(c["state"] == "ok" for c in checks()), "what is not asked for is no fault"
    named(scene, 'backend = "micro_sam"')
    monkeypatch.setattr(packages, "missing", lambda name: ["micro_sam"] if name == "micro_sam" else [])
    (failed,) = [c for c in checks() if c["state"] == "fail"]
    assert "micro_sam not installed" in failed["found"] and "--no-deps" in failed["mend"]
    monkeypatch.setattr(packages, "missing", lambda name: [])
    (failed,) = [c for c in checks() if c["state"] == "fail"]
    assert "no weights here" in failed["found"] and "alscope models fetch vit_b_lm" in failed["mend"]
    assert alscope("models", "fetch", "tiny", "--yes").code == 0
    assert not [c for c in checks() if c["state"] == "fail"]


def test_auto_takes_what_can_run_and_says_why(scene, tiny, alscope, monkeypatch):
    named(scene, 'backend = "auto"\nweights = "lab"')
    monkeypatch.setattr(packages, "missing", lambda name: [] if name == "micro_sam" else ["cellSAM"])
    monkeypatch.setattr(pseudo_choice, "has_cuda", lambda: True)

    def taken():
        """As after a start of the daemon: (how a volume would be labelled, what is recorded)."""
        by = PseudoPlans(scene.store, load(scene.config)).labeler(scene.now)
        return by, look(scene.workspace.root, scene.now).pseudo

    by, recorded = taken()
    assert (by.backend, by.options, recorded.chosen) == ("threshold", {}, "threshold")
    assert "micro_sam: no weights here" in recorded.why and "cellSAM not installed" in recorded.why
    assert alscope("models", "fetch", "tiny", "--yes").code == 0
    by, recorded = taken()
    assert by.backend == recorded.chosen == "micro_sam" and "weights tiny are here" in recorded.why
    assert by.options == {"model": "tiny", "weights_folder": str(scene.config.parent / "lab")}
    told = [e.message for e in look(scene.workspace.root, scene.now).events if e.kind == "pseudo"]
    assert len(told) == 2 and told[0] == f"new volumes are pseudo-labelled by micro_sam: {recorded.why}"
    taken()
    assert len([e for e in look(scene.workspace.root, scene.now).events if e.kind == "pseudo"]) == 2, "told once"
    monkeypatch.setattr(pseudo_choice, "has_cuda", lambda: False)
    by, recorded = taken()
    assert by.backend == "threshold" and by.options == {}


def test_what_is_set_is_not_changed(scene):
    named(scene, 'backend = "micro_sam"\nweights = "lab"\noptions = {model = "mine"}')
    by = PseudoPlans(scene.store, load(scene.config)).labeler(scene.now)
    lab = str(scene.config.parent / "lab")
    assert (by.backend, by.options, by.model) == ("micro_sam", {"model": "mine", "weights_folder": lab}, "")
    assert look(scene.workspace.root, scene.now).pseudo is None
