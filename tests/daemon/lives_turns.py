"""How a random life goes on: a turn of the daemon after everything that happens, and peace at its end."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from alcore.artifact import remove_tree
from daemon.executors.port import Finished, Order
from tests.daemon.lives import BAD, World
from tests.daemon.lives_checks import Account, agree, at_rest, planned
from tests.faults.campaign.engine_faults import scratch


class Turns:
    """A world and the account of it. late: reports that nobody has heard yet. former: orders whose worker was given up, or has
    said its last word. away: files that were moved out of the watched folder. sound: nothing was found so far."""

    def prepare(self) -> None:
        """An empty world."""
        self.root = Path(tempfile.mkdtemp(prefix="alscope-lives-", dir=scratch()))
        (self.root / "away").mkdir()
        self.world, self.account = World(self.root), Account()
        self.n, self.sound = 0, True
        self.away: dict[str, Path] = {}
        self.late: list[tuple[Order, Finished]] = []
        self.former: list[Order] = []

    def close(self) -> None:
        self.world.store.close()
        remove_tree(self.root)

    def everybody_works(self) -> None:
        """Every order is carried out, and nothing happens meanwhile."""
        for order in list(self.world.executor.held.values()):
            self.hear(order, self.world.executor.work(order))
        self.turn()

    def turn(self) -> None:
        orders, self.sound = len(self.world.executor.orders), False
        for asked in self.account.asked.values():
            asked.arrives()
        self.world.scan()
        self.world.tick()
        planned(self.account, self.world, self.world.executor.orders[orders:])
        if self.account.adopts(self.world):  # files follow with the next turn of the engine
            orders = len(self.world.executor.orders)
            self.world.tick()
            planned(self.account, self.world, self.world.executor.orders[orders:])
        agree(self.account, self.world)
        self.sound, self.account.trained = True, False

    def hear(self, order: Order, said: Finished) -> None:
        """The engine hears a worker."""
        taken = self.taken_back(order, said)
        self.account.ends(order, said)
        self.world.engine.handle(said)
        for name in taken:
            asked = self.account.asked[name]
            if asked.state == "open":
                asked.state = "withdrawn"
        self.former.append(order)

    def taken_back(self, order: Order, said: Finished) -> list[str]:
        """Suggestions that go with this result."""
        if order.stage != "suggestions" or said.outcome != "done":
            return []
        manifest = json.loads((self.world.workspace.artifacts.path(order.key) / "manifest.json").read_text())
        sql = (
            "SELECT s.id FROM suggestion s JOIN patch p ON p.id = s.patch_id JOIN job j ON j.volume_id = p.volume_id"
            " WHERE j.key = ? AND p.row = ?"
        )
        found = [self.world.sql(sql, t["embedding"], t["row"]) for t in manifest["result"].get("taken_back", ())]
        return [r["id"] for rows in found for r in rows]

    def held(self, number: int) -> Order | None:
        """One of the orders at work."""
        orders = list(self.world.executor.held.values())
        return orders[number % len(orders)] if orders else None

    def content(self, bad: bool = False) -> bytes:
        self.n += 1
        return (BAD if bad else b"") + b" content %d" % self.n

    def put(self, name: str, content: bytes) -> None:
        tmp = self.root / "new"
        tmp.write_bytes(content)
        os.replace(tmp, self.world.folder / name)
        self.account.files[name] = content

    def some(self, number: int, *states: str) -> str | None:
        names = [n for n, a in self.account.asked.items() if a.state in states]
        return names[number % len(names)] if names else None

    def save(self, name: str, bad: bool) -> None:
        content = self.content(bad)
        path = self.world.inbox / f"{name}.tif"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        self.account.asked[name].spare = content

    def command(self, wanted: bool, verb: str, **arguments: Any) -> None:
        """Ask, and be told what the oracle says that one is told."""
        said = self.world.ask(verb, **arguments)
        self.turn()
        ok, words = self.world.sql("SELECT ok, outcome FROM command WHERE id = ?", said)[0].values()
        assert bool(ok) == wanted, f"{verb} {arguments}: {words}"

    def to_rest(self) -> None:
        """In peace, everything comes to its end."""
        self.world.growing.clear()
        self.account.paused = False
        self.command(True, "resume")
        while self.late:
            self.hear(*self.late.pop())
        quiet = 0
        for _ in range(300):
            before = len(self.world.executor.orders)
            self.everybody_works()
            moved = self.world.executor.held or len(self.world.executor.orders) > before
            quiet = 0 if moved else quiet + 1
            self.world.now += 700 if quiet else 0  # let every backoff pass
            if quiet == 4:
                at_rest(self.account, self.world)
                return
        raise AssertionError(f"never at rest: {[o.stage for o in self.world.executor.orders[-20:]]}")
