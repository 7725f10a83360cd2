"""No patch both trains and judges: every leak that is planted is refused by the database itself, and nothing else is."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from daemon.store.models import Models
from daemon.store.store import Store

SIZE = 12


class Plain:
    """A store with patches and labels put into its tables as plain SQL, past all code that could prevent a leak."""

    def __init__(self, root) -> None:
        self.store = Store(root)
        self.db = self.store._db
        self.n = 0
        for key in ("volume-1", "volume-2", "label-x"):
            self.store.learning.add_artifact(key, key.split("-")[0], 1, 0.1, 1.0)
        for number in (1, 2):
            row = {"id": number, "sha256": f"{number}", "name": f"{number}", "export_name": f"{number}"}
            row |= {"artifact": f"volume-{number}", "info": "{}", "read": "{}", "notes": "[]", "created_at": 1.0}
            self.db.table("volume").insert(row)

    def patch(self, volume: int, start, shape) -> int:
        self.n += 1
        place = dict(zip("zyx", map(int, start), strict=True)) | dict(
            zip(("dz", "dy", "dx"), map(int, shape), strict=True)
        )
        self.db.table("patch").insert({"id": self.n, "volume_id": volume, "row": self.n} | place)
        sql = "INSERT INTO suggestion (id, patch_id, rank, state, reason, created_at, changed_at) VALUES (?, ?, 1, 'open', 'r', 1, 1)"
        self.db.execute(sql, [f"s{self.n:05d}", self.n])
        sql = (
            "INSERT INTO received (id, suggestion_id, file, sha256, inbox_path, state, received_at)"
            " VALUES (?, ?, ?, 'x', x'00', 'accepted', 1)"
        )
        self.db.execute(sql, [self.n, f"s{self.n:05d}", f"f{self.n}"])
        return self.n

    def label(self, patch: int, role: str, superseded: bool = False) -> int:
        sql = (
            "INSERT INTO label (patch_id, artifact, received_id, origin, role, n_objects, author, warnings, accepted_at)"
            " VALUES (?, 'label-x', ?, 'human', ?, 1, '', '[]', 1)"
        )
        made = int(self.db.execute(sql, [patch, patch, role]).lastrowid)
        if superseded:
            self.db.execute("UPDATE label SET superseded_by = id WHERE id = ?", [made])
        return made

    def n_labels(self) -> int:
        return int(next(self.db.query("SELECT COUNT(*) AS n FROM label"))["n"])


@pytest.fixture
def plain(tmp_path):
    made = Plain(tmp_path)
    yield made
    made.store.close()


def voxels(volume: int, start, shape) -> set:
    ranges = [range(s, s + n) for s, n in zip(start, shape, strict=True)]
    return {(volume, z, y, x) for z in ranges[0] for y in ranges[1] for x in ranges[2]}


def test_every_planted_leak_is_refused_and_nothing_else(plain):
    """Random labels one after the other; the oracle keeps the voxels of each role, of superseded labels too."""
    rng = np.random.default_rng(0)
    seen: dict[str, set] = {"train": set(), "gate": set()}
    refused = accepted = 0
    with plain.store.transaction():
        for _ in range(600):
            volume, role = int(rng.integers(1, 3)), str(rng.choice(["train", "gate"]))
            start, shape = rng.integers(0, SIZE, 3).tolist(), rng.integers(1, 4, 3).tolist()
            here = voxels(volume, start, shape)
            other = seen["gate" if role == "train" else "train"]
            try:
                patch = plain.patch(volume, start, shape)
            except sqlite3.IntegrityError:
                continue  # the same box again
            if here & other:
                before = plain.n_labels()
                with pytest.raises(sqlite3.IntegrityError, match="leak"):
                    plain.label(patch, role)
                assert plain.n_labels() == before
                refused += 1
            else:
                plain.label(patch, role, superseded=bool(rng.random() < 0.5))
                seen[role] |= here
                accepted += 1
    assert refused > 100
    assert accepted > 100
    assert not seen["train"] & seen["gate"]


def test_a_role_cannot_be_changed_into_a_leak(plain):
    plain.label(plain.patch(1, (0, 0, 0), (4, 4, 4)), "train", superseded=True)
    other = plain.label(plain.patch(1, (0, 3, 3), (4, 4, 4)), "train")
    apart = plain.label(plain.patch(1, (0, 9, 9), (4, 4, 4)), "train")
    with pytest.raises(sqlite3.IntegrityError, match="overlaps"):
        plain.db.execute("UPDATE label SET role = 'gate' WHERE id = ?", [other])
    plain.db.execute("UPDATE label SET role = 'gate' WHERE id = ?", [apart])
    with pytest.raises(sqlite3.IntegrityError, match="overlaps"):
        plain.db.execute("UPDATE label SET patch_id = ? WHERE id = ?", [plain.patch(1, (1, 1, 1), (2, 2, 2)), apart])


def test_what_a_round_used_keeps_its_role_for_ever(plain):
    label = plain.label(plain.patch(1, (0, 0, 0), (4, 4, 4)), "train")
    plain.store.learning.open_round(plain.store.labels.current(), "digest", 0.5, 1.0)
    for change in (
        "UPDATE label SET role = 'gate'",
        "UPDATE round_label SET role = 'gate'",
        "DELETE FROM round_label",
        "DELETE FROM label",
        "UPDATE patch SET x = 100",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            plain.db.execute(change)
    other = plain.label(plain.patch(1, (0, 9, 9), (4, 4, 4)), "gate")
    with pytest.raises(sqlite3.IntegrityError, match="in the role"):
        plain.db.execute("INSERT INTO round_label VALUES (1, ?, 'train')", [other])
    plain.db.execute("UPDATE label SET superseded_by = id WHERE id = ?", [label])  # withdrawn, and still learned from
    with pytest.raises(sqlite3.IntegrityError, match="leak"):
        plain.label(plain.patch(1, (3, 3, 3), (4, 4, 4)), "gate")


def test_roles_are_decided_by_all_labels_that_ever_were(plain):
    plain.label(plain.patch(1, (0, 0, 0), (4, 4, 4)), "gate", superseded=True)
    plain.label(plain.patch(2, (0, 0, 0), (4, 4, 4)), "train")
    assert [(volume, role) for volume, _, role in Models(plain.db).placed()] == [("1", "gate"), ("2", "train")]
