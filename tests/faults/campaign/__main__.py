"""The campaign of faults: `python -m tests.faults.campaign --minutes 30`. The same seed gives the same faults; a second call goes on."""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path

from alcore.artifact import remove_tree
from tests.faults.campaign import engine_faults, real_faults
from tests.faults.campaign.ledger import Ledger, Line

FAULTS = dict.fromkeys(engine_faults.FAULTS, engine_faults) | dict.fromkeys(real_faults.FAULTS, real_faults)
"""Name of a fault -> the module that plays it."""


def line_of(fault: str, number: int, seed: int, run: engine_faults.Run | real_faults.Run, seconds: float) -> Line:
    """A run in a line of the ledger."""
    found = run.found
    words = "; ".join([*found.lost, *found.duplicated, *found.stuck, *found.violations])
    return Line(
        fault=fault,
        number=number,
        seed=seed,
        faults=run.faults,
        lost=len(found.lost),
        duplicated=len(found.duplicated),
        stuck=len(found.stuck),
        violations=len(found.violations),
        seconds=round(seconds, 2),
        words=(f"{words[:600]} (after {' '.join(run.points[-3:])})" if words else "") + ".",
    )


def main(arguments: list[str]) -> int:
    """Runs until the time or the runs are used up. Returns 1 when anything was found, now or in the ledger."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=10**9, help="at most so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--ledger", type=Path, default=Path("alscope-faults/ledger.csv"))
    asked = parser.parse_args(arguments)
    ledger, until, left = Ledger(asked.ledger), time.monotonic() + 60 * asked.minutes, asked.runs
    faults = [name for name in FAULTS if asked.only in name]
    if not faults:
        parser.error(f"no fault has {asked.only!r} in its name; known: {'; '.join(FAULTS)}")
    if real_faults.UNMOUNTED in faults and not real_faults.can_mount():
        print(
            f"not played: {real_faults.UNMOUNTED}, since this process may not mount anything (it needs root)",
            flush=True,
        )
        faults.remove(real_faults.UNMOUNTED)
    if not faults:
        return 0
    for number in itertools.count():
        for fault in faults:
            if left <= 0 or time.monotonic() > until:
                print(ledger.table())
                return int(any(line.lost or line.duplicated or line.stuck or line.violations for line in ledger.lines))
            if not ledger.has(fault, number, asked.seed):
                left -= 1
                _run(ledger, fault, number, asked.seed)
    raise AssertionError("numbers never end")


def _run(ledger: Ledger, fault: str, number: int, seed: int) -> None:
    """One run and its line; what was found is kept beside the ledger, with the workspace."""
    root = Path(tempfile.mkdtemp(prefix="alscope-fault-", dir=engine_faults.scratch()))
    began = time.monotonic()
    try:
        run = FAULTS[fault].play(fault, root / "run", number, seed)
        ledger.add(line_of(fault, number, seed, run, time.monotonic() - began))
        if run.found:
            kept = ledger.path.parent / f"found-{fault.replace(' ', '-')}-{number}"
            shutil.copytree(root / "run", kept, dirs_exist_ok=True)
            print(f"{fault}, run {number}: {ledger.lines[-1].words}\n  kept in {kept}", flush=True)
    finally:
        remove_tree(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
