"""Positions in a pool and identities of patches are both integers, and mixing them does not pass the type checker."""

from __future__ import annotations

import pytest

USE = """
def use_{name}(frontier: Frontier, {name}: {kind}) -> None:
    frontier.cover([{name}])
    frontier.withdraw({name})
    frontier.look({name})
    Frontier(frontier.state.base, [{name}])
    picks = select(frontier.state.base, 1, [{name}], np.random.default_rng(0))
    found: {kind} = picks[0].position
"""
KINDS = {"position": "PoolPosition", "patch": "PatchId", "number": "int"}


def test_only_positions_pass_for_positions(tmp_path):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    script = "import numpy as np\nfrom alcore.coreset import Frontier, select\n"
    script += "from alcore.types import PatchId, PoolPosition\n"
    owner = {}
    for name, kind in KINDS.items():
        begin = script.count("\n")
        script += USE.format(name=name, kind=kind)
        owner |= dict.fromkeys(range(begin + 1, script.count("\n") + 1), name)
    path = tmp_path / "script.py"
    path.write_text(script)
    settings = ["--ignore-missing-imports", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    out, err, _ = api.run([*settings, str(path)])
    errors = [line for line in out.splitlines() if ": error:" in line]
    found = {name: [e for e in errors if owner[int(e.split(":")[1])] == name] for name in KINDS}
    assert not err and found["position"] == [], out
    assert len(found["patch"]) == 6, "each of the six uses of a patch id is an error"
    assert all('"PatchId"' in e and '"PoolPosition"' in e for e in found["patch"])
    assert len(found["number"]) == 5, "a bare number is no position; a position is a number"
