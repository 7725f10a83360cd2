"""Looks at a workspace after every step, by plain SQL and at the files, and compares it with the account of the oracle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from alcore.fileset import fingerprint_of
from daemon.executors.port import Finished, Order
from tests.daemon.lives import BAD, DEPTH, EVERY, World, quality
from tests.daemon.lives_oracle import Asked, Jobs, Rounds
from tests.faults.invariants import artifact_of, check

READABLE = (
    "SELECT l.volume_id FROM source_part l JOIN source x ON x.id = l.source_id AND l.current = 1 AND x.state = 'ingested'"
    " AND x.gone = 0"
)
WAITS = ("open", "claimed", "submitted", "rejected")
CURRENT = "SELECT artifact, role FROM label WHERE superseded_by IS NULL"


@dataclass
class Account:
    """What the oracle knows. files: as they lie in the watched folder. given_up: fingerprints that could not be read for other
    reasons than what is in the file. hurt: stages of which something failed, by the test's doing. made: recipes of artifacts that a
    worker finished."""

    files: dict[str, bytes] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    jobs: Jobs = field(default_factory=Jobs)
    asked: dict[str, Asked] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)
    accepted: set[str] = field(default_factory=set)
    roles: dict[str, str] = field(default_factory=dict)
    hashes: set[str] = field(default_factory=set)
    models: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    trained: bool = False
    hurt: set[str] = field(default_factory=set)
    orders: dict[int, Order] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def begins(self, order: Order) -> None:
        """An order was given."""
        assert not self.paused, f"{order.stage} begins while alscope is paused"
        self.jobs.begins(order)
        again = order.job_id in self.orders  # its worker was lost; what was undone meanwhile waits as well
        self.orders[order.job_id] = order
        if order.stage == "finetune":
            sets = self.rounds.frozen[max(self.rounds.frozen)]
            assert {i.key for i in order.inputs["label"]} == sets["train"], (
                "a round trains on other labels than its own"
            )
        elif order.stage == "evaluate":
            sets = self.rounds.frozen[max(self.rounds.frozen)]
            assert {i.key for i in order.inputs["label"]} == sets["gate"], "a round judges on other labels than its own"
        elif order.stage == "suggestions" and not order.params["waiting"] and not again:
            waiting = sum(a.state in ("open", "rejected") for a in self.asked.values())
            assert order.params["n"] <= DEPTH - waiting, f"{order.params['n']} more are asked for, and {waiting} wait"
            assert waiting <= DEPTH // 2

    def ends(self, order: Order, said: Finished) -> None:
        """A worker's word on it was heard."""
        became = self.jobs.ends(said)
        if became == "ignored":
            return
        self.made |= {order.key} if said.outcome == "done" else set()
        if became in ("failed", "gave up"):
            self.hurt.add(order.stage)
            if order.stage == "volume":
                self.given_up.add(json.dumps(order.params["fingerprint"], sort_keys=True))
        if order.stage == "label" and became in ("done", "failed", "gave up"):
            self._checked(order, became == "done")

    def _checked(self, order: Order, good: bool) -> None:
        self.asked[order.params["suggestion"]].checked(order.key if good else None)
        if good:
            self.accepted.add(order.key)

    def adopts(self, world: World) -> bool:
        """What a worker had made before its word was lost is there: such a job is done without another order."""
        found = False
        for r in world.sql("SELECT id FROM job WHERE state = 'done'"):
            job = self.jobs.known.get(r["id"])
            if job is not None and job.state in ("waiting", "gave up", "withdrawn", "") and job.key in self.made:
                job.state, found = "done", True
                if job.stage == "label":
                    self._checked(self.orders[r["id"]], True)
        return found

    def current(self) -> dict[str, str]:
        """Labels that count: artifact -> suggestion."""
        return {a.labels[-1][0]: name for name, a in self.asked.items() if a.labels}


def planned(account: Account, world: World, begun: Sequence[Order]) -> None:
    """After the engine had its turn. begun: orders that it gave."""
    _roles(account, world)
    _rounds(account, world)
    for order in begun:
        account.begins(order)


def agree(account: Account, world: World) -> None:
    """After a step."""
    _files(account, world)
    _suggestions(account, world)
    _labels(account, world)
    _jobs(account, world)


def _jobs(account: Account, world: World) -> None:
    rows = world.sql("SELECT id, stage, state, attempts, inputs, params FROM job")
    for r in rows:
        inputs = json.loads(r.pop("inputs"))
        keys = {name: [item["key"] for item in items] for name, items in inputs.items()}
        r["recipe"] = json.dumps([r["stage"], keys, json.loads(r.pop("params"))], sort_keys=True)
    account.jobs.agree(rows)


def _files(account: Account, world: World) -> None:
    there = {p.name: p.read_bytes() for p in world.folder.iterdir()}
    assert there == account.files, "the watched folder was changed"
    sql = (
        "SELECT s.path, s.state, s.reason, s.fingerprint, s.gone, (SELECT GROUP_CONCAT(v.sha256) FROM source_part l JOIN volume v"
        " ON v.id = l.volume_id WHERE l.source_id = s.id AND l.current = 1) AS sha256 FROM source s"
    )
    known = {os.path.basename(bytes(r["path"])).decode(): r for r in world.sql(sql)}
    assert all(known[name]["gone"] for name in known.keys() - there.keys()), "a file is known that is not there"
    for name, content in there.items():
        row, found = known.get(name), fingerprint_of(os.fsencode(world.folder / name))
        assert row is not None and found is not None and not row["gone"], f"{name} is not known"
        if row["state"] == "arriving":
            continue
        assert row["fingerprint"] == found.to_text(), f"{name}: {row['state']}, as it was before"
        if row["state"] == "ingested":
            assert row["sha256"] == hashlib.sha256(content).hexdigest(), f"{name} is ingested with another content"
            account.hashes.add(row["sha256"])
        elif row["state"] == "set_aside":
            assert row["reason"], f"{name} is set aside for no reason"
            assert content.startswith(BAD) or row["fingerprint"] in account.given_up, f"{name}: {row['reason']}"
    assert {r["sha256"] for r in world.sql("SELECT sha256 FROM volume")} >= account.hashes, "a volume was lost"


def _suggestions(account: Account, world: World) -> None:
    shown = {p.name for p in world.workspace.queue.iterdir()}
    listed = {q.id for q in world.shot().queue}
    latest = "SELECT MAX(id) FROM claim GROUP BY suggestion_id"
    expired = {
        r["suggestion_id"]
        for r in world.sql(f"SELECT suggestion_id FROM claim WHERE ended = 'expired' AND id IN ({latest})")
    }
    for r in world.sql("SELECT id, state, skip_kind FROM suggestion ORDER BY id"):
        name, state = r["id"], "withdrawn" if r["skip_kind"] == "taken back" else r["state"]
        asked = account.asked.setdefault(name, Asked())
        if asked.state == "open" and state == "withdrawn" and asked.spare is None:
            asked.state = "withdrawn"  # as long as nobody has begun
        elif asked.holder and name in expired:
            asked.release(asked.holder)  # claims have a model of their own (test_claims_model)
        elif asked.state == "withdrawn" and state == "open":
            asked.state = "open"
        assert state == asked.state, f"{name} is {state}, and ought to be {asked.state}"
        asked.shown = name in shown
        assert asked.shown <= (asked.state in WAITS), f"queue/{name} is there, and {name} is {state}"
        assert (name in listed) == (asked.state in WAITS), f"{name} is {state}, and the queue says otherwise"
        inbox = world.inbox / f"{name}.tif"
        assert (inbox.read_bytes() if inbox.exists() else None) == asked.spare, f"inbox/{name}.tif"


def _labels(account: Account, world: World) -> None:
    rows, current = {r["artifact"] for r in world.sql(CURRENT)}, account.current()
    assert rows == current.keys(), f"labels that count: {sorted(rows)}, and ought to be {sorted(current)}"
    ever = {r["artifact"] for r in world.sql("SELECT artifact FROM label")}
    assert ever == account.accepted, "a label was lost, or made up"
    for key in ever:
        assert (artifact_of(world.workspace.root, key) / "label.tif").exists(), f"{key} is gone"
    there = {p.stem: p.read_bytes().decode() for p in world.workspace.labels.glob("*.tif")}
    assert there == {name: key for key, name in current.items()}, "labels/ holds something else than what counts"


def _roles(account: Account, world: World) -> None:
    """A patch trains or judges, for ever."""
    current = account.current()
    for r in world.sql(CURRENT):
        name = current.get(r["artifact"], "")
        assert account.roles.setdefault(name, r["role"]) == r["role"] or not name, f"{name} was {account.roles[name]}"


def _rounds(account: Account, world: World) -> None:
    rounds, before = account.rounds, account.rounds.failed.copy()
    rows = world.sql("SELECT number, state, model, promoted, verdict FROM round ORDER BY number")
    account.models |= {r["version"]: r["artifact"] for r in world.sql("SELECT version, artifact FROM model")}
    rounds.failed = {r["number"] for r in rows if r["state"] == "failed"}
    assert sum(r["state"] in ("training", "judging") for r in rows) <= 1, "two rounds at a time"
    for r in rows:
        if r["number"] not in rounds.frozen:
            _opened(account, world, r["number"], before)
        if r["state"] == "done" and r["number"] not in rounds.concluded:
            rounds.concluded.add(r["number"])
            _concluded(account, r)
    promoted = [r["version"] for r in world.sql("SELECT version FROM model WHERE state = 'promoted'")]
    assert promoted == rounds.uses[-1:], f"in use is {promoted}, and ought to be {rounds.uses[-1:]}"


def _opened(account: Account, world: World, number: int, failed: set[int]) -> None:
    """A new round has the labels that count, each in its role; there were enough, or somebody wanted it."""
    sql = "SELECT l.artifact, r.role FROM round_label r JOIN label l ON l.id = r.label_id WHERE r.round = ?"
    sets: dict[str, set[str]] = {"train": set(), "gate": set()}
    for r in world.sql(sql, number):
        sets[r["role"]].add(r["artifact"])
    current, rounds = account.current(), account.rounds
    mine: dict[str, set[str]] = {"train": set(), "gate": set()}
    for key, name in current.items():
        mine[account.roles[name]].add(key)
    assert sets == mine, f"round {number} has {sets}, and these labels count: {mine}"
    assert sets["train"], f"round {number} has nothing to train on"
    n_new = len(rounds.new(set(current)))
    assert account.trained or n_new >= EVERY or failed, f"round {number} opened for {n_new} new labels"
    rounds.frozen[number] = sets


def _concluded(account: Account, r: dict[str, Any]) -> None:
    """The better model is in use, as far as the held-out labels tell."""
    rounds, version, gate = account.rounds, r["model"], account.rounds.frozen[r["number"]]["gate"]
    mine = quality(account.models[version])
    base = next((v for v in sorted(account.models, reverse=True) if v.startswith("M_p")), None)
    instead = ""
    if "could not be judged" in r["verdict"]:
        assert "evaluate" in account.hurt
        wanted = False
    elif not gate:
        wanted = True
    elif rounds.uses:
        wanted = mine >= quality(account.models[rounds.uses[-1]])
    else:
        wanted = base is None or mine >= quality(account.models[base])
        instead = "" if wanted or base is None else base
    assert bool(r["promoted"]) == wanted, f"{version} (F1 {mine}): {r['verdict']}; before {rounds.uses[-1:]}"
    if wanted or instead:
        rounds.takes_over(version if wanted else instead)


def at_rest(account: Account, world: World) -> None:
    """Nothing is left to do: everything came to its end, and is seen."""
    check(world.workspace.root)
    left = world.sql(
        f"SELECT stage, state, error FROM job WHERE state IN ('ready', 'running') OR (state = 'waiting' AND volume_id IN ({READABLE}))"
    )
    assert not left, f"left to do: {left}"
    states = {
        os.path.basename(bytes(r["path"])).decode(): r
        for r in world.sql("SELECT path, state, fingerprint FROM source WHERE gone = 0")
    }
    for name, content in account.files.items():
        state, fingerprint = states[name]["state"], states[name]["fingerprint"]
        bad = content.startswith(BAD) or fingerprint in account.given_up
        assert state == ("set_aside" if bad else "ingested"), f"{name} is {state} at the end"
    assert all(a.spare is None and a.checking is None for a in account.asked.values()), "a label was never looked at"
    if not account.hurt & {"encoder", "embedding", "suggestions", "pseudo", "traits", "novelty", "package"}:
        waiting = sum(a.state in ("open", "rejected") for a in account.asked.values())
        covered = "SELECT patch_id FROM suggestion WHERE skip_kind <> 'taken back'"
        free = world.sql(f"SELECT id FROM patch WHERE volume_id IN ({READABLE}) AND id NOT IN ({covered})")
        assert waiting > DEPTH // 2 or not free, f"{waiting} wait, and {len(free)} patches could be asked for"
    if not account.hurt & {"finetune", "evaluate", "pretrain"}:
        new = account.rounds.new(set(account.current()))
        trains = any(account.roles[account.current()[key]] == "train" for key in new)
        assert len(new) < EVERY or not trains, f"no round was opened for {len(new)} labels"
    if account.rounds.uses and "predict" not in account.hurt:
        sql = f"SELECT export_name, id FROM volume WHERE id IN ({READABLE})"
        for r in world.sql(sql):
            made = world.sql(
                "SELECT artifact FROM prediction WHERE volume_id = ? AND model = ?", r["id"], account.rounds.uses[-1]
            )
            assert made, f"{r['export_name']} was not segmented by {account.rounds.uses[-1]}"
            seen = world.workspace.predictions / f"{r['export_name']}.tif"
            wanted = artifact_of(world.workspace.root, made[0]["artifact"]) / "instances.tif"
            assert seen.read_bytes() == wanted.read_bytes(), f"{seen.name} is not of the model in use"
