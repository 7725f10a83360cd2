"""Plays a whole life of alscope in minutes: a microscope, an expert and the real daemon, then honest scores on unseen data."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.arrays.tiling import tile
from daemon.device import has_cuda
from daemon.errors import AlscopeError, WorkspaceError
from daemon.look import look
from daemon.store.views import RoundView, Snapshot
from daemon.workspace import Workspace

if TYPE_CHECKING:
    from daemon.demo.examiner import Exam
    from daemon.demo.split import Piece

MARKER = ".alscope-demo"
"""Only a folder that holds this file is ever cleared for a new demo."""


@dataclass(frozen=True)
class Script:
    """How the demo is played.

    patch_px: (z, y, x) in voxels. think_s: seconds the expert needs for one patch. stuck_s: seconds without any progress
    after which the play is given up. n_patches: of the whole pool; the encoder waits for all of them, since here it is
    known that they come within seconds.
    """

    rounds: int
    every: int
    patch_px: tuple[int, int, int]
    seconds_per_volume: float
    think_s: float
    stuck_s: float
    n_patches: int


def script(pool: Sequence[Piece], rounds: int, every: int, at_least: int, stuck_s: float = 600.0) -> Script:
    """A script for these volumes, cut into at least so many patches."""
    patch_px = patch_for(pool[0].image.shape, len(pool), at_least)
    n_patches = sum(len(tile(piece.image.shape, patch_px)) for piece in pool)
    return Script(rounds, every, patch_px, 3.0, 0.5, stuck_s, n_patches)


def prepare_folder(folder: Path) -> None:
    """An empty demo folder; an earlier demo in it is cleared, anything else is refused."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise AlscopeError(f"{folder}: holds something that is not an earlier demo; name another folder with --folder")
    if folder.exists():
        from alcore.artifact import remove_tree

        remove_tree(folder)
    (folder / "acquisition").mkdir(parents=True)
    (folder / MARKER).write_text("This folder is cleared by the next `alscope demo`.\n")


def write_config(folder: Path, script: Script, address: str = "") -> Path:
    """config.toml of the demo: quick to settle, small queue, otherwise the defaults of this machine. address: of the scheduler of a
    cluster, "" for none."""
    device = "cuda" if has_cuda() else "cpu"
    cluster = f'executor = "dask"\naddress = "{address}"\ndevice = "{device}"\n' if address else ""
    path = folder / "config.toml"
    path.write_text(
        f"""# made by `alscope demo`
workspace = "workspace"

[[watch]]
folder = "acquisition"
settle_s = 1.0

[patch]
shape_px = {list(script.patch_px)}

[encoder]
size = "{"auto" if has_cuda() else "micro"}"
min_patches = {script.n_patches}

[selection]
queue_depth = {2 * script.every}

[training]
every = {script.every}

[inbox]
settle_s = 0.5

[run]
rescan_s = 10.0
nice = 0
yield_to_acquisition = "off"
{cluster}"""
    )
    return path


@contextmanager
def daemon(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon as a child process; it is asked to stop at the end, and made to if it must be."""
    with open(log, "ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli.main", "--config", str(config), "run"], stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def actor(name: str, play: Callable[[threading.Event], None]) -> Iterator[threading.Thread]:
    """A part of the play in a thread of its own, asked to stop at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=play, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(30)


def seen(workspace: Path) -> Snapshot | None:
    """The state of the workspace; None while its database is being made."""
    with suppress(WorkspaceError):
        return look(workspace, time.time())
    return None


def expert_may_answer(shot: Snapshot, every: int, rounds: int) -> bool:
    """The expert pauses while a round is under way or due, so that the learning curve has equal steps, and goes home
    when the last has begun: more labels would begin another."""
    if any(r.state in ("training", "judging") for r in shot.rounds) or len(shot.rounds) >= rounds:
        return False
    return shot.labels["new"] < every


def is_over(shot: Snapshot, rounds: int, n_volumes: int) -> bool:
    """All rounds are judged and the promoted model has segmented every volume; or nothing more can happen."""
    ended = sum(r.state in ("done", "failed") for r in shot.rounds)
    active = sum(shot.jobs.get(s, 0) for s in ("waiting", "ready", "running"))
    idle = not active and shot.volumes["ingested"] == n_volumes and not shot.volumes["arriving"]
    exhausted = (
        idle
        and not shot.queue
        and shot.patches["labelled"] > 0
        and not any(r.state in ("training", "judging") for r in shot.rounds)
    )
    return (ended >= rounds and idle) or exhausted


def wait_until_over(
    workspace: Path,
    script: Script,
    n_volumes: int,
    process: subprocess.Popen[bytes],
    refresh: Callable[[], None],
    problem: Callable[[], str],
) -> Snapshot:
    """Watch until the play is over. Raises AlscopeError when the daemon dies, an actor fails or nothing moves any more."""
    moved, before = time.monotonic(), ""
    while time.monotonic() - moved < script.stuck_s:
        time.sleep(0.5)
        refresh()
        if process.poll() is not None:
            raise AlscopeError(f"the daemon ended with status {process.returncode}; see daemon.log in the demo folder")
        if problem():
            raise AlscopeError(problem())
        shot = seen(workspace)
        if shot is not None and is_over(shot, script.rounds, n_volumes):
            return shot
        if shot is not None and (now := _standing(shot)) != before:
            moved, before = time.monotonic(), now
    raise AlscopeError(
        f"nothing has moved for {script.stuck_s / 60:.0f} minutes, so the demo was given up; "
        "see daemon.log in the demo folder"
    )


def _standing(shot: Snapshot) -> str:
    """Everything that work changes, as text: two looks that differ have progress between them, however slow the machine."""
    running = [(job.id, job.progress, job.note) for job in shot.running]
    return repr((shot.volumes, shot.jobs, shot.patches, shot.labels, shot.rounds, running))


def model_artifacts(workspace: Path) -> list[tuple[str, Path, str]]:
    """Every model version that was trained: (version, artifact folder, key), oldest first."""
    from daemon.store.connection import DATABASE, open_reader

    db = open_reader(workspace / DATABASE)
    try:
        rows = db.execute("SELECT version, artifact FROM model ORDER BY id").fetchall()
    finally:
        db.close()
    artifacts = Workspace(workspace).artifacts
    return [(r["version"], artifacts.path(r["artifact"]), r["artifact"]) for r in rows]


def pseudo_by_volume(workspace: Path) -> dict[str, Path]:
    """Pseudo-label artifacts of the pool: volume file name -> folder."""
    from daemon.store.connection import DATABASE, open_reader

    db = open_reader(workspace / DATABASE)
    try:
        sql = "SELECT v.name, j.key FROM job j JOIN volume v ON v.id = j.volume_id WHERE j.stage = 'pseudo' AND j.state = 'done'"
        rows = db.execute(sql).fetchall()
    finally:
        db.close()
    artifacts = Workspace(workspace).artifacts
    return {r["name"]: artifacts.path(r["key"]) for r in rows}


def summarise(shot: Snapshot, exam: Exam, began: float, elapsed_s: float, about: dict[str, Any]) -> dict[str, Any]:
    """The content of summary.json."""
    scores = {t.version: t.scores for t in exam.trained}
    rounds = [_round(r, scores, began) for r in shot.rounds if r.model in scores]
    return {
        "rounds": rounds,
        "pseudo_label_scores": exam.pseudo_scores,
        "pretrained_scores": next((t.scores for t in exam.trained if t.version.startswith("M_p")), None),
        "elapsed_s": round(elapsed_s, 1),
        "volumes": shot.volumes["ingested"],
        "patches": shot.patches["total"],
        "scored_on": about,
    }


def _round(r: RoundView, scores: dict[str, dict[str, float]], began: float) -> dict[str, Any]:
    return {
        "round": r.round,
        "n_labels": r.n_labels + r.n_gate,
        "n_train": r.n_labels,
        "n_gate": r.n_gate,
        "fraction": r.fraction,
        "scores": scores[r.model or ""],
        "gate_scores": r.scores,
        "promoted": r.promoted,
        "verdict": r.verdict,
        "wall_s": round((r.finished_at or began) - began, 1),
    }


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """summary.json, for scripts."""
    path.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")


def tidy(folder: Path) -> None:
    """Remove what nobody looks at after a demo: the test volume's intermediate results."""
    shutil.rmtree(folder / "test" / "jobs", ignore_errors=True)


def patch_for(shape_zyx: tuple[int, int, int], n_volumes: int, at_least: int) -> tuple[int, int, int]:
    """A patch size (z, y, x) that cuts `n_volumes` of this shape into at least `at_least` patches, whole in Z."""
    z, y, x = shape_zyx
    per_volume = math.ceil(at_least / n_volumes)
    ny = max(1, round(math.sqrt(per_volume * y / x)))
    nx = max(1, math.ceil(per_volume / ny))
    return (z, math.ceil(y / ny), math.ceil(x / nx))
