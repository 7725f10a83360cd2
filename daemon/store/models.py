"""Which model is in use, and how it came to be: every change on record, none of them by accident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alcore.arrays.splits import Placed
from alcore.types import Box
from daemon.machine import MODEL_TRANSITIONS, check_transition
from daemon.store.connection import transaction

if TYPE_CHECKING:
    from sqlite_utils import Database


@dataclass(frozen=True)
class Promotion:
    """A model came into use. how: round (by verdict), hand or rollback. who: empty for a round. at: seconds since the epoch."""

    model: str
    previous: str | None
    how: str
    who: str
    reason: str
    at: float


class Models:
    """The states of models and the record of promotions; and the roles of labels, that no model is judged on what it learned."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def promotions(self, version: str | None = None) -> list[Promotion]:
        """Every change of the model in use, oldest first; of one model where `version` is given."""
        sql = "SELECT model, previous, how, who, reason, at FROM promotion WHERE model = COALESCE(?, model) ORDER BY id"
        return [Promotion(**r) for r in self._db.query(sql, [version])]

    def states(self) -> dict[str, tuple[str, str, str]]:
        """By version: state, the court's ruling ("" where there was none) and verdict."""
        sql = "SELECT version, state, ruling, verdict FROM model ORDER BY id"
        return {r["version"]: (r["state"], r["ruling"], r["verdict"]) for r in self._db.query(sql)}

    def move(self, version: str, finish: str) -> None:
        """Change a model's state. Raises IllegalTransitionError with what became of it so far."""
        start = self.states()[version][0]
        story = [f"{p.how} by {p.who or 'verdict'}: {p.reason}" for p in self.promotions(version)]
        check_transition(f"model {version}", MODEL_TRANSITIONS, start, finish, story)
        with transaction(self._db):
            self._db.execute("UPDATE model SET state = ? WHERE version = ?", [finish, version])

    def promote(self, version: str, how: str, who: str, reason: str, now: float) -> None:
        """Put a model to use in place of the one in use. A model that is rolled back is rejected, any other retired."""
        with transaction(self._db):
            current = next((v for v, (state, _, _) in self.states().items() if state == "promoted"), None)
            row = {"model": version, "previous": current, "how": how, "who": who, "reason": reason, "at": now}
            self._db.table("promotion").insert(row)
            if current is not None:
                self.move(current, "rejected" if how == "rollback" else "retired")
            self.move(version, "promoted")

    def before(self) -> str | None:
        """The model that a rollback brings back, or None."""
        return rollback_target(self.promotions())

    def n_predicted(self, version: str) -> int:
        """How many volumes a model has segmented."""
        sql = "SELECT COUNT(*) AS n FROM prediction WHERE model = ?"
        return int(next(self._db.query(sql, [version]))["n"])

    # roles of labels

    def placed(self) -> list[Placed]:
        """Every label that ever was, withdrawn ones too: (volume id, box, role). A model may have learned from it."""
        sql = (
            "SELECT p.volume_id, p.z, p.y, p.x, p.dz, p.dy, p.dx, l.role FROM label l"
            " JOIN patch p ON p.id = l.patch_id GROUP BY p.id ORDER BY MIN(l.id)"
        )
        return [_placed(r) for r in self._db.query(sql)]

    def trained(self, number: int) -> list[tuple[int, Box]]:
        """(volume id, box) of every patch that a model of this round or of one before it learned from an expert's label of."""
        sql = (
            "SELECT p.* FROM patch p WHERE p.id IN (SELECT l.patch_id FROM round_label r JOIN label l ON l.id = r.label_id"
            " WHERE r.role = 'train' AND r.round <= ?) ORDER BY p.id"
        )
        return [
            (r["volume_id"], Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"])))
            for r in self._db.query(sql, [number])
        ]

    def set_role_reason(self, label_id: int, reason: str) -> None:
        """Why a label trains or judges."""
        with transaction(self._db):
            self._db.execute("UPDATE label SET role_reason = ? WHERE id = ?", [reason, label_id])


def pile(history: Sequence[Promotion]) -> list[str]:
    """Models in the order in which rollbacks would bring them back, the one in use first; each is named once.

    Promotions pile up; a rollback takes the topmost off. Rolling back twice goes two models back, never to and fro: a model that is
    promoted again leaves its former place, or it would come back from there after it was rolled back.
    """
    found: list[str] = []
    for step in history:
        if step.how == "rollback":
            while found and found[-1] != step.model:
                found.pop()
        else:
            found = [*(model for model in found if model != step.model), step.model]
    return found[::-1]


def rollback_target(history: Sequence[Promotion]) -> str | None:
    """The model that was in use before the present one, and was not itself rolled back; None without any."""
    return next(iter(pile(history)[1:]), None)


def _placed(r: Mapping[str, Any]) -> Placed:
    return (str(r["volume_id"]), Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"])), r["role"])
