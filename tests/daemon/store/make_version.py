"""Makes tests/daemon/store/versions/NNNN.sql.gz and .json: a database as the code of now writes it, and what that code says of it.

Run it BEFORE the code of a new migration is begun, or the newest one once it is done:

    .venv/bin/python -m tests.daemon.store.make_version

A file that is there already is never made again: it is what the code of then wrote.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alcore.artifact import remove_tree
from daemon import commands
from daemon.arrival import Arriving, Gone, Identified
from daemon.courier import Delivered
from daemon.executors.port import Finished, Order
from daemon.store.connection import DATABASE
from daemon.store.found import FoundLabel
from daemon.walk import INBOX
from tests.daemon.play import Stage
from tests.daemon.scripted import evaluation, results

FOLDER = Path(__file__).parent / "versions"
PLACE = "/the/folder/of/the/test"
"""Stands in the dump for the folder that holds workspace and acquisitions; as text, and in hexadecimal in paths."""
BEGAN = 1_750_000_000.0
"""When the life begins, seconds since the epoch."""
OPTIONS: dict[str, Any] = {
    "training": {"every": 4, "gate_share": 0.5, "gate_min_patches": 2},
    "selection": {"queue_depth": 4, "control_share": 0.25},
    "annotation": {"repeat_share": 0.5},
    "pseudo": {"backend": "auto"},
    "prediction": {"policy": "new"},
    "alarms": {"command": ["true"]},
}
F1 = (0.6, 0.7, 0.2, 0.8)
"""Of the models that are fine-tuned, one after the other: the third is worse than the one in use."""


class Science:
    """The scripted stages, with what is wrong or unusual now and then. held: nothing ends any more."""

    def __init__(self) -> None:
        self.held = False
        self.refused = False
        self.trained: list[str] = []

    def __call__(self, order: Order) -> Any:
        if self.held:
            return None
        names = [item.path for items in order.inputs.values() for item in items]
        if order.stage == "volume" and names[0].name == "bad.tif":
            return Finished(order.job_id, order.fence, "failed", f"{names[0]}: it is cut off", "permanent")
        if order.stage == "label" and order.inputs["file"][0].path.read_bytes().startswith(b"wrong"):
            return Finished(order.job_id, order.fence, "failed", "shape (8, 64, 15), wanted (8, 64, 16)", "bad_label")
        if order.stage == "encoder" and order.params.get("kind") == "mae" and not self.refused:
            self.refused = True
            detail = {"selftest": {"self_retrieval": 0.41}}
            return Finished(order.job_id, order.fence, "failed", "self-retrieval 0.41", "encoder_rejected", detail)
        return self._unusual(order, self._truth(order) if order.stage == "truth" else results(order))

    def _truth(self, order: Order) -> dict[str, Any]:
        rows = [p["row"] for p in order.params["patches"]]
        label = {"n_objects": 3, "warnings": [], "seen_fraction": 1.0}
        return {"labels": [label | {"row": row, "folder": f"p{row}"} for row in rows[:2]], "skipped": []}

    def _unusual(self, order: Order, said: dict[str, Any]) -> dict[str, Any]:
        for volume in said.get("volumes", [said]) if order.stage == "volume" else ():
            volume["info"] = {"voxel_um": None, "dtype": "uint8"} | volume["info"]  # as the real stage always said
        if order.stage == "finetune":
            self.trained.append(order.key)
        elif order.stage == "evaluate":
            model = order.inputs["model"]
            known = model and model[0].key in self.trained
            return evaluation(order, F1[self.trained.index(model[0].key) % len(F1)] if known else 0.1)
        elif order.stage == "predict":
            said["confidence"] = 0.8
        elif order.stage == "label":
            said |= {"seen_fraction": 0.5 if order.params.get("seen") else 1.0, "warnings": ["it touches the edge"]}
        elif order.stage == "novelty":
            new = {
                key: {"max": 0.9, "median": 0.8, "row": 0, "nearest": None, "duplicates": 0} for key in said["novelty"]
            }
            said["novelty"] = new
        elif order.stage == "suggestions" and said["suggestions"]:
            broken = said["suggestions"].pop()
            said["qc"] = [{"embedding": broken["embedding"], "row": broken["row"], "reason": "blank", "score": 2.0}]
        return said


class Life:
    """A stage, and what people do on it."""

    def __init__(self, root: Path) -> None:
        self.science = Science()
        self.stage = Stage(root, self.science, **OPTIONS)
        self.stage.now = BEGAN
        self.stage.restart()

    def ask(self, verb: str, **arguments: Any) -> str:
        """A command, obeyed at once; returns what was answered."""
        said = commands.ask(self.stage.workspace, verb, arguments)
        self.stage.run()
        return str(self.stage.store.state.command_outcome(said))

    def waiting(self) -> list[str]:
        """Suggestions that people may answer now."""
        return [q.id for q in self.stage.shot().queue if q.state == "open" and q.ready]

    def label(self, name: str, user: str, content: bytes = b"label", **note: Any) -> None:
        """Somebody saves a label."""
        work = {"active_s": 60.0, "clicks": 5, "changed_voxels": 900, "open_s": 90.0}
        commands.leave_label_note(self.stage.workspace, name, {"user": user, "tool": "napari", "work": work} | note)
        self.stage.label(name, content)


def content(name: str) -> bytes:
    """Bytes of an acquisition, by its name: files that differ only after the dash are copies."""
    return name.partition(".")[0].partition("-")[0].encode()


def arrive(life: Life) -> None:
    """Volumes, a copy, one that cannot be read, one that goes."""
    life.stage.engine.handle(Identified(life.stage.folder, "a disk"))
    for name in ("a.tif", "b.tif", "c.tif", "a-copy.tif", "bad.tif", "d.tif", "e.tif"):
        life.stage.drop(name, content(name))
        life.stage.run()


def take(life: Life) -> None:
    """Patches are claimed, given back, taken over and skipped."""
    first, second, third, *_ = life.waiting()
    life.ask("claim", id=first, user="ana")
    life.ask("claim", id=second, user="ben")
    life.ask("claim", id=second, user="ana", take_over=True)
    life.ask("claim", id=third, user="ben")
    life.ask("release", id=third, user="ben")
    life.ask("skip", id=third, user="ben", kind="out of focus", reason="blurred")
    life.ask("skip", id="s99999", user="ben")
    life.ask("qc-ok", id=next((f"q{r['patch_id']:05d}" for r in life.stage.store.state._db.query(HELD)), "q0"))


HELD = "SELECT patch_id FROM qc WHERE state = 'held' ORDER BY patch_id"


def draw(life: Life) -> None:
    """Labels: wrong, mended, better, of a part, with a mask, withdrawn."""
    first, second, *_ = [q.id for q in life.stage.shot().queue if q.state in ("open", "claimed") and q.ready]
    life.label(first, "ana", b"wrong")
    life.stage.run()
    life.label(first, "ana", b"mended")
    life.stage.run()
    mask = life.stage.inbox / f"{second}.seen.tif"
    mask.write_bytes(b"mask")
    life.stage.settled(mask, INBOX)
    life.label(second, "ben", seen={"z": [0, 3]})
    life.stage.run()
    life.label(second, "ben", b"a better one")
    life.stage.run()
    third = life.waiting()[0]
    life.label(third, "cleo", b"a mistake")
    life.stage.run()
    life.ask("undo-label", id=third)


def learn(life: Life) -> None:
    """Rounds: promoted, not promoted, rolled back, by hand. People answer under different names, so that repeats are asked."""
    for n in range(4):
        for i, name in enumerate(life.waiting()):
            life.label(name, ("ana", "ben")[(n + i) % 2])
        life.stage.run()
    life.ask("rollback", user="ana", reason="the last one splits cells")
    life.ask("promote", version="M_p-001", user="ben", reason="to compare")
    life.ask("rollback", user="ben", reason="enough")


def bring(life: Life) -> None:
    """The mask of a whole volume is imported."""
    mask = life.stage.folder.parent / "truth.tif"
    mask.write_bytes(b"truth")
    volume = max(r["id"] for r in life.stage.store.state._db.query("SELECT id FROM volume"))
    life.ask("import-labels", path=str(mask), volume=volume, user="ana")


def expect(life: Life) -> None:
    """A run is declared, nothing arrives, people are told."""
    life.stage.engine.alarming.ways = {"command": lambda letter: None}  # it arrives when it is said below
    life.ask("expect", every_s=60.0, for_s=1e6)
    for _ in range(8):
        life.stage.now += 400
        life.stage.engine.pulse()
        asked = [r["alarm_id"] for r in life.stage.store.state._db.query(UNTOLD)]
        life.stage.engine.handle(Delivered("command", tuple(asked[:2]), ""))
    life.stage.run()


UNTOLD = "SELECT alarm_id FROM alarm_delivery WHERE state = 'waiting' ORDER BY alarm_id"


def find(life: Life) -> None:
    """A label is on the disk whose volume is not known."""
    box = json.dumps({"start": [0, 0, 0], "shape": [8, 64, 16]})
    done = json.dumps({"n_objects": 2, "seen_fraction": 1.0, "warnings": []})
    where = "labels/received/s00077-00077.tif"
    lost = FoundLabel("label-lost", "ff" * 32, box, "s00077", where, "ee", "ana", "{}", "train", done, BEGAN)
    life.stage.store.found.add([lost])
    life.stage.run()


def hold(life: Life) -> None:
    """The daemon is stopped in the middle: a volume is read, another grows, a label is checked, a patch is claimed, all is wanted."""
    for name in ("f.tif", "g.tif"):
        life.stage.drop(name, content(name))
        life.stage.run()
    (life.stage.folder / "b.tif").unlink()
    life.stage.engine.handle(Gone(os.fsencode(life.stage.folder / "b.tif"), True))
    open_now = life.waiting()
    life.science.held = True
    if len(open_now) > 1:
        life.ask("claim", id=open_now[1], user="ana")
        life.label(open_now[0], "ben")
    life.stage.drop("late.tif", content("late.tif"))
    for _ in range(4):
        life.stage.turn()
    grows(life.stage, life.stage.folder / "new.tif")
    life.ask("promote", version="M_p-001", user="ana", reason="to see all of it")
    commands.ask(life.stage.workspace, "predict-all", {})
    commands.obey(life.stage.engine, life.stage.now)  # and nothing was planned for it yet
    words = "no backup of the database could be made: no room; the old ones stay, it is tried again"
    life.stage.store.state.problem("backup", "database", words, life.stage.now)


def grows(stage: Stage, path: Path) -> None:
    """A file that its writer is still at."""
    path.write_bytes(content(path.name))
    at = stage.now
    stage.engine.handle(Arriving(os.fsencode(path), 0, 3, "", at, "growing, 1 B", at, 10.0))


STEPS: list[Callable[[Life], None]] = [arrive, take, draw, learn, bring, expect, find, hold]


def said_of(db: sqlite3.Connection) -> dict[str, Any]:
    """What a database holds, by plain SQL that every version understands."""

    def counted(sql: str) -> dict[str, int]:
        return dict(sorted(Counter(row[0] for row in db.execute(sql)).items()))

    tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {
        "rows": {t: db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in tables},
        "sources": counted("SELECT state FROM source WHERE gone = 0"),
        "volumes": db.execute("SELECT COUNT(*) FROM volume").fetchone()[0],
        "patches": db.execute("SELECT COUNT(*) FROM patch").fetchone()[0],
        "labels": counted("SELECT role FROM label WHERE superseded_by IS NULL"),
        "rejected": db.execute("SELECT COUNT(*) FROM received WHERE state = 'rejected'").fetchone()[0],
        "suggestions": counted("SELECT state FROM suggestion"),
        "models": [list(r) for r in db.execute("SELECT version, state FROM model ORDER BY id")],
        "rounds": [list(r) for r in db.execute("SELECT number, state, n_labels, promoted FROM round ORDER BY number")],
        "published": db.execute("SELECT COUNT(*) FROM prediction WHERE published = 1").fetchone()[0],
        "jobs": counted("SELECT state FROM job"),
    }


def dump(database: Path, root: Path) -> tuple[str, dict[str, Any]]:
    """The database as SQL with `PLACE` for the folder, and what it holds."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        text = "\n".join(db.iterdump()) + "\n"
        for here, there in ((str(root), PLACE), (os.fsencode(root).hex().upper(), PLACE.encode().hex().upper())):
            text = text.replace(here, there)
        return text, said_of(db)


def main(folder: Path = FOLDER) -> None:
    """Play a life, and write it down under the number of the newest migration."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        life = Life(root)
        for step in STEPS:
            step(life)
        life.stage.store.close()
        remove_tree(root / "ws" / "artifacts")
        text, said = dump(root / "ws" / DATABASE, root)
    newest = max(
        line.split("'")[3] for line in text.splitlines() if line.startswith('INSERT INTO "_sqlite_migrations"')
    )
    target = folder / f"{newest[:4]}.sql.gz"
    if target.exists():
        sys.exit(f"{target}: is there already, and stays as the code of then wrote it")
    target.write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / f"{newest[:4]}.json").write_text(json.dumps(said, indent=1) + "\n")
    print(f"{target}: {target.stat().st_size} bytes; empty: {[t for t, n in said['rows'].items() if not n]}")


if __name__ == "__main__":
    main()
