"""The status: short, in plain words, safe against names from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from daemon.look import before_the_first_run, look
from daemon.status import status
from daemon.wording import clean, duration, size, sparkline
from daemon.wording_state import bar, summary
from tests.daemon.scene import Scene

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def lines(scene: Scene, width: int | None = 80, everything: bool = False, all_problems: bool = False) -> list[str]:
    found = look(scene.workspace.root, scene.now)
    return [line.plain.rstrip() for line in status(found, scene.workspace.root, width, everything, all_problems)]


def test_a_healthy_system_fits_in_twelve_lines_of_eighty(scene):
    scene.live().running()
    found = lines(scene)
    assert len(found) == 12
    assert all(cell_len(line) <= 80 for line in found)
    text = "\n".join(found)
    for words in (
        "● running  pid",
        "42%  fine-tuning, round 3",
        "epoch 13/30, loss 0.412, about 2 min left; 1 ready",
        "selects   E-002 (mae) of 24 patches; self-retrieval 1.00, effective rank 23",
        "better than chance: Dice +0.031 (+0.004 to +0.058)",
        "4 patches to annotate in ",
        "s00005 in stack_00.tif at z 0 y 0 x 256 (32 x 256 x 256)",
        "far from the rest",
        "✓ M_f-002  F1 0.612 Dice 0.812; pseudo-labels 0.402, 0.602; 1 held out",
        "round 2: promoted",
        "1 arriving, 4 tiled, 4 pseudo-labelled, 3 embedded, 1 predicted",
        "✓ none",
    ):
        assert words in text


def test_into_a_pipe_nothing_is_cut(scene):
    scene.live().running()
    text = "\n".join(lines(scene, None))
    assert f"4 patches to annotate in {scene.workspace.queue}; 4 labels so far, of 32 patches" in text


@pytest.mark.parametrize("width", [60, 80, 200, None])
@pytest.mark.parametrize("running", [True, False])
def test_there_are_twelve_lines_at_most_whatever_is_wrong(scene, width, running):
    scene.troubled()
    if running:
        scene.running()
    for number in range(9):
        scene.set_aside(f"cut_{number}.tif", f"cut_{number}.tif: {'too short, ' * number}copy it again")
        assert len(lines(scene, width)) == 12
    text = "\n".join(lines(scene, width))
    for heading in ("daemon", "now", "for you", "  next", "model", "volumes", "problems"):
        assert f"\n{heading.ljust(10)}" in f"\n{text}"


def test_everything_is_there_when_it_is_asked_for(scene):
    scene.troubled().running()
    short, whole = "\n".join(lines(scene)), lines(scene, everything=True)
    assert len(whole) > 20
    assert "better than chance" not in short
    for words in ("better than chance", "mend the file and save it to", "E-003 (mae)", "far from the rest"):
        assert words in "\n".join(whole)
    only = lines(scene, all_problems=True)
    assert "E-003 (mae)" in "\n".join(only)
    assert "better than chance" not in "\n".join(only)


def test_the_worst_problems_come_first_and_the_rest_is_counted(scene):
    scene.troubled()  # nobody holds the lock: the daemon crashed
    found = lines(scene, 80)
    start = next(i for i, line in enumerate(found) if line.startswith("problems"))
    assert "ended unexpectedly" in found[start]
    assert "/data/em2" in "".join(found[start + 1 : start + 3])
    assert re.fullmatch(r" +and \d more: `alscope status --problems`", found[-1])
    assert all(cell_len(line) <= 80 for line in found)
    everything = "\n".join(lines(scene, None, everything=True))
    for words in (
        "/data/em2",
        "→ mount it",
        "is not markup",
        "cut.tif: 6 of 10 planes",
        "inbox/s00005.tif",
        "jobs retry",
    ):
        assert words in everything


def test_names_from_outside_are_text_and_nothing_else(scene):
    scene.troubled().running()
    text = "\n".join([*lines(scene, None, everything=True), summary(look(scene.workspace.root, scene.now))])
    assert "a[red]b[bold]\\x1b[31m" in text
    assert not CONTROL.search(text)


def test_work_of_a_daemon_that_is_gone_is_not_shown_as_going_on(scene):
    scene.live()
    text = "\n".join(lines(scene))
    assert "nothing; 1 cut short, to be continued; 1 ready" in text
    assert "42%" not in text


def test_states_of_the_daemon(scene):
    scene.running()
    assert "● running" in lines(scene)[0]
    scene.store.state.pause(scene.now + 7200)
    assert "‖ paused for 2 h 00 min more" in lines(scene)[0]
    scene.store.state.pause(None)
    scene.store.state.seen(scene.now - 100, "")
    assert "! hanging" in lines(scene)[0]
    assert "last seen 1 min ago" in lines(scene)[0]
    scene.store.state.stopped(scene.now - 3700)
    scene._lock.release()
    assert re.search(r"○ not running since (.+ )?\d\d:\d\d.*, last seen 1 h 01 min ago", lines(scene)[0])


def test_an_empty_system_is_not_an_error(scene):
    scene.running()
    text = "\n".join(lines(scene))
    assert "nothing to do" in text
    assert "nothing to annotate" in text
    assert "none yet" in text


def test_before_the_first_run(tmp_path):
    found = [line.plain for line in status(before_the_first_run(0.0), tmp_path, 80)]
    assert "not started yet" in found[0]
    assert "alscope run" in found[-1]


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_one_harmless_line(text):
    found = clean(text)
    assert found.isprintable()
    assert clean(found) == found


@given(st.floats(-1, 2, allow_subnormal=False), st.integers(1, 60))
def test_a_bar_is_as_wide_as_asked(fraction, width):
    assert cell_len(bar(fraction, width).plain) == width


@given(st.lists(st.floats(0, 1, allow_subnormal=False)))
def test_a_sparkline_rises_with_the_numbers(values):
    found = sparkline(values)
    assert len(found) == len(values)
    assert [c for _, c in sorted(zip(values, found, strict=True))] == sorted(found)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7500, "2 h 05 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (83e6, "83.0 MB"), (5e12, "5.0 TB")]
)
def test_sizes(n, words):
    assert size(n) == words
