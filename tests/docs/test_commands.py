"""Every command of README and docs is typed and does what it should; those that cannot run here are checked word by word."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import click
import pytest

from daemon.cli.main import alscope
from tests.docs.pages import PAGES, ROOT, Said, commands
from tests.docs.typist import Typist, typist

NOT_TYPED = {
    "make": "installs, or runs for minutes",
    ". .venv/bin/activate": "made by make",
    "pip": "downloads",
    "dask": "serves until it is stopped (tests/daemon/executors/clusters.py)",
    "alscope cluster": "serves until it is stopped (tests/daemon/test_cluster_daemon.py)",
    "sbatch": "needs SLURM (tests/daemon/executors/test_slurm_script.py)",
    "sudo": "needs an administrator",
    "systemctl": "needs systemd, and the service",
    "journalctl": "needs systemd, and the service",
    "alscope demo": "trains for minutes (tests/daemon/demo; `make demo`)",
    "alscope simulate": "plays for minutes to hours (tests/daemon/cli/test_simulate.py)",
    "alscope annotate": "opens a window (tests/annotate)",
    "alscope report --open": "opens a browser (tests/daemon/cli/test_report.py)",
    "alscope models fetch": "downloads (tests/daemon/cli/test_weights.py)",
    "alscope pseudo compare": "seconds of libraries and drawing (tests/daemon/cli/test_pseudo.py)",
    "alscope doctor --deep": "imports torch and faiss (tests/daemon/cli/test_doctor.py)",
}
"""Beginning of a command -> why it is not typed here (where else it is)."""
NO_MODEL = "no model has been trained in this workspace"
ANSWERS = {
    "alscope doctor": ((0, 1), "this machine may lack something"),
    "alscope status --check": ((0, 1), "a small pool may have a volume unlike the others"),
    "alscope restore": ((75,), "the daemon runs"),
    "alscope jobs retry 17": ((1,), "job 17 has not failed"),
    "alscope models show M_f-002": ((64,), NO_MODEL),
    "alscope models diff M_f-001 M_f-002": ((64,), NO_MODEL),
    "alscope models export M_f-002 mito-model": ((64,), NO_MODEL),
    "alscope models rollback": ((1,), NO_MODEL),
    'alscope models rollback --reason "it merges neighbours in the new stacks"': ((1,), NO_MODEL),
    "alscope predict --all": ((1,), NO_MODEL),
    "alscope predict other_lab/stack.tif": ((64,), "there is no such file here"),
}
"""Command -> the exit codes that are right here, where it is not 0 alone, and why."""
LAST = ("alscope train",)
"""What sets off work of minutes is typed when everything else was, and in a pause."""
SAID = [said for page in PAGES for said in commands(page)]


def why_not(said: Said) -> str:
    """The beginning in NOT_TYPED that a command has; "" for one that is typed."""
    return next((b for b in NOT_TYPED if said.text == b or said.text.startswith(f"{b} ")), "") or (
        "alscope demo" if said.text.startswith(".venv/bin/alscope demo ") else ""
    )


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typist]:
    """Everything that can be typed, was."""
    with typist(tmp_path_factory.mktemp("newcomer")) as made:
        mine = [said for said in SAID if not why_not(said)]
        for said in sorted(mine, key=lambda said: said.text in LAST):
            made.type(said)
        yield made


@pytest.mark.parametrize("page", sorted({said.page for said in SAID}))
def test_commands_do_what_they_should(typed: Typist, page: str):
    wrong = []
    for said in SAID:
        if said.page == page and not why_not(said):
            answer, (right, _) = typed.answers[said.text], ANSWERS.get(said.text, ((0,), ""))
            if answer.code not in right or "Traceback" in answer.out:
                wrong.append(f"{said.where}: {said.text}: exit code {answer.code}: {answer.out[-400:]}")
    assert not wrong, "\n".join(wrong)


def test_what_was_handed_in_is_accepted_and_what_waits_is_shown(typed: Typist):
    handed = {text: answer.out for text, answer in typed.answers.items() if text.startswith("alscope label add")}
    assert len(handed) > 5 and all("accepted" in out for out in handed.values())
    assert "s00001" in typed.answers["alscope queue"].out
    assert "q00001" in typed.answers["alscope queue --qc"].out


def test_the_daemon_says_nothing_bad(typed: Typist):
    assert typed.daemon is not None
    assert "Traceback" not in typed.daemon.log
    assert [line for line in typed.daemon.log.splitlines() if "ERROR" in line] == []


def test_commands_are_understood():
    """The command, its options and its arguments exist; of other programs, what can be known of them."""
    wrong = []
    for said in SAID:
        words = said.words()
        if words[0] == "sudo":
            words = words[1:]
        try:
            if words[0].rpartition("/")[2] == "alscope":
                understand(words[1:])
            elif words[0] == "make":
                assert {word for word in words[1:] if not word.startswith(("-", "/"))} <= targets()
            elif words[0] == "pip":
                named = re.findall(r"\.\[(.*?)\]", said.text)
                assert {extra for extras_ in named for extra in extras_.split(",")} <= extras()
        except (click.ClickException, AssertionError) as e:
            wrong.append(f"{said.where}: {said.text}: {getattr(e, 'message', e)}")
    assert not wrong, "\n".join(wrong)


def targets() -> set[str]:
    """What `make` can make."""
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def extras() -> set[str]:
    """What can stand in brackets behind the folder of the clone."""
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def understand(words: list[str]) -> None:
    """Read a command line as `alscope` does, without doing anything. Raises click.ClickException."""
    command: click.Command = alscope
    ctx = click.Context(alscope, info_name="alscope")
    while isinstance(command, click.Group):
        given, words, _ = command.make_parser(ctx).parse_args(words)
        for parameter in command.get_params(ctx):
            parameter.handle_parse_result(ctx, given, [])
        if not words:
            return
        _, found, words = command.resolve_command(ctx, words)
        assert found is not None
        command, ctx = found, click.Context(found, parent=ctx, info_name=found.name)
    command.make_context(command.name, words, parent=ctx.parent)


@pytest.mark.parametrize(
    "line", ["stats", "queue shwo", "queue show", "queue skip s00001 --kind dull", "run --fast", "jobs --state broken"]
)
def test_a_command_line_that_makes_no_sense_is_found(line: str):
    with pytest.raises(click.ClickException):
        understand(line.split())


def test_the_tables_of_exceptions_hold_nothing_that_is_not_on_a_page():
    assert {why_not(said) for said in SAID} - {""} == set(NOT_TYPED)
    assert {*ANSWERS, *LAST} <= {said.text for said in SAID}
