"""A command, an option, a value or a name with a slip in it: the message names the nearest that there is."""

from __future__ import annotations

import pytest

from daemon.cli.main import main


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("statsu", "did you mean 'status'?"),
        ("fetch vit_b_lm", "did you mean 'models fetch'?"),
        ("show s00001", "did you mean 'queue show' or 'jobs show' or 'models show'?"),
        ("xyzzy", "`alscope --help` lists them"),
        ("queue shwo s00001", "did you mean 'show'?"),
        ("queue s00001", "there are claim, minutes"),
        ("jobs --sate failed", "'--state'"),
        ("jobs --state fialed", "Did you mean 'failed'?"),
        ("simulate --learner nnunt", "Did you mean 'nnunet'?"),
        ("completion fsh", "Did you mean 'fish'?"),
        ("models fetch vit_b_ml", "did you mean 'vit_b_lm'?"),
    ],
)
def test_slips_of_the_command_line(said, meant, capsys):
    assert main(said.split()) in (2, 64)
    assert meant in capsys.readouterr().err


NAMES = {
    "queue show s0001": "did you mean 's00001'?",
    "queue qc-ok q1": "is not in the QC queue; `alscope queue --qc` lists it",
    "models show M_f-2": "did you mean 'M_f-002'?",
    "models diff M_f-1 M_f-002": "did you mean 'M_f-001'?",
    "jobs show 99": "the newest is 12",
    "label add x.tif --for S1": "did you mean 's00001'?",
    "label import config.toml --volume stack01.tif": "did you mean 'stack_01.tif'?",
}


def test_slips_in_names(scene, alscope, monkeypatch):
    scene.troubled().running()
    monkeypatch.chdir(scene.root)
    for said, meant in NAMES.items():
        done = alscope(*said.split())
        assert (done.code, done.err.count("\n")) == (64, 1), said
        assert meant in done.err
