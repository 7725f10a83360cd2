"""The dashboard: exact frames, keys and signals on a real terminal, and what it does when there is nothing to look at."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from daemon.alarms import Alarm
from daemon.dashboard import once, render, share
from daemon.keys import names
from daemon.live import LiveView
from daemon.look import before_the_first_run, look
from daemon.panels import SIGNS
from daemon.store.connection import DATABASE, open_writer
from daemon.store.schema import migrations
from daemon.store.store import Store
from daemon.view import FILTERS, PAGES, SORTS, View, window
from daemon.view import events as arranged_events
from daemon.view import problems as arranged_problems
from daemon.view import queue as arranged_queue
from daemon.vitals import Vitals, VitalsReader, gpu_words
from daemon.wording_state import ALARMING
from daemon.workspace import Lock
from tests.daemon.scene import HOSTILE, Scene, scores

ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
PLAIN = View()
VITALS = Vitals(34.0, 5.1, 15.6, 120.0, "none")


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def frame(snapshot, width: int, height: int, view: View = PLAIN) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=True)
    drawn = console.render_lines(render(snapshot, width, height, view, VITALS), console.options.update(height=height))
    assert len(drawn) == height
    assert all(sum(segment.cell_length for segment in line) == width for line in drawn)
    return ["".join(segment.text for segment in line).rstrip() for line in drawn]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (120, 30), (60, 16), (20, 5)])
@pytest.mark.parametrize("page", ["overview", "queue", "models", "problems", "events"])
def test_a_frame_fills_the_screen_exactly(scene, width, height, page):
    scene.troubled().running()
    frame(look(scene.workspace.root, scene.now), width, height, View(page=page, place=3))


def test_everything_that_matters_is_on_a_small_screen(scene):
    scene.troubled().running()
    text = "\n".join(frame(look(scene.workspace.root, scene.now), 80, 24))
    for words in (
        "● running",
        "cpu 34%  ram 5.1/15.6 GB  disk 120 GB free  gpu none",
        "pseudo-labelled",
        "42%  fine-tuning, round 3",
        "about 2 min left",
        "queue: 4 patches to annotate, 4 labels accepted",
        "s00005 ✗ rejected stack_00.tif",
        "s by rank  f all",
        "0 0 256 0.46   4",
        "M_f-002  F1 0.612",
        "problems: 6",
        "/data/em2: the watched folder cannot be reached",
        "→ mount it",
        "F1 by round ▁█ 0.450 to 0.612",
        "events",
        "1 overview",
        "q quit",
    ):
        assert words in text


def test_a_wide_screen_shows_problems_in_full(scene):
    scene.troubled().running()
    text = "\n".join(frame(look(scene.workspace.root, scene.now), 200, 60))
    for words in (
        "cut.tif: 6 of 10 planes",
        "→ mend or replace the file",
        "round 2",
        "s00008",
        "◇ far from the rest",
        "E-002 (mae)",
        "better than chance",
    ):
        assert words in text


def test_names_from_outside_do_not_act(scene):
    scene.troubled().running()
    text = "\n".join(frame(look(scene.workspace.root, scene.now), 200, 60))
    assert "a[red]b[bold]\\x1b[31m" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_before_the_first_run_it_waits(tmp_path):
    assert "waiting for the daemon" in frame(before_the_first_run(time.time()), 80, 24)[0]


@given(st.integers(0, 100), st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=6))
def test_rows_are_shared_out_completely(height, wants):
    rows = share(height, wants)
    least = sum(low for low, _ in wants)
    assert sum(rows) == max(height, least)
    assert all(n >= low for n, (low, _) in zip(rows, wants, strict=True))
    assert all(n <= max(low, most) for n, (low, most) in list(zip(rows, wants, strict=True))[:-1])


def test_keys_turn_pages_and_scroll():
    view = View()
    assert view.after("2").page == "queue"
    assert view.after("tab").after("right").page == "models"
    assert view.after("left").page == "events"
    assert view.after("j").after("down").after("up").place == 1
    assert view.after("k").place == 0
    assert view.after("j").after("3").place == 0
    assert view.after("page down").after("g").place == 0
    assert view.after("?").help
    assert not view.after("?").after("escape").help
    assert view.after("9") == view.after("x") == view


def test_keys_sort_and_filter_the_list_that_is_looked_at():
    view = View()
    assert view.after("s").sort("queue") == "novelty"  # on the overview that is the queue
    assert view.after("3").after("s").sort("models") == "best"
    assert view.after("3").after("s").sort("queue") == "rank"
    assert view.after("4").after("f").after("f").after("f").filter("problems") == "all"
    assert view.after("5").after("f").keys_of("events") == "s by newest  f alarms"
    for page, orders in SORTS.items():
        there = View(page=page)
        for _ in orders:
            there = there.after("s")
        assert there.sort(page) == orders[0]


def test_what_sorting_and_filtering_show(scene):
    scene.troubled().running()
    shot = look(scene.workspace.root, scene.now)

    def queued(sort: str, only: str) -> list[str]:
        view = View(sorts={"queue": SORTS["queue"].index(sort)}, filters={"queue": FILTERS["queue"].index(only)})
        return [item.id for item in arranged_queue(shot, view)]

    assert queued("rank", "all") == ["s00005", "s00006", "s00007", "s00008"]
    assert queued("rank", "open") == ["s00006", "s00007", "s00008"]
    assert queued("rank", "to mend") == ["s00005"]
    assert queued("rank", "random") == ["s00007"]
    assert queued("novelty", "open") == ["s00006", "s00007", "s00008"]
    assert sorted(queued("volume", "all")) == sorted(queued("minutes", "all")) == queued("rank", "all")
    wrong = arranged_problems(shot, View(filters={"problems": 1}))
    assert {p.kind for p in wrong} == {"folder", "job"}
    newest = arranged_problems(shot, View(sorts={"problems": 1}))
    assert [p.since for p in newest] == sorted((p.since for p in shot.problems), reverse=True)
    assert all(e.kind in ALARMING for e in arranged_events(shot, View(filters={"events": 1})))
    for page in PAGES:
        for only in range(5):
            view = View(page=page, place=99, filters={page: only % len(FILTERS[page])} if page in FILTERS else {})
            frame(shot, 80, 24, view)


@given(st.integers(0, 300), st.integers(0, 60), st.integers(0, 400))
def test_the_line_that_is_looked_at_is_always_shown(n, rows, place):
    shown = window(n, rows, min(place, max(0, n - 1)))
    there = range(n)[shown]
    assert len(there) == min(n, rows)
    assert not there or min(place, n - 1) in there


def test_the_line_that_is_looked_at_is_told_in_full_below(scene):
    scene.troubled().running()
    text = "\n".join(frame(look(scene.workspace.root, scene.now), 80, 24, View(page="queue", place=2)))
    assert "─ ○ s00007  stack_02.tif" in text
    assert "z 0 y 0 x 256, 32 x 256 x 256 voxels" in text
    assert "◇ drawn at random, to measure whether selection helps" in text


def test_problems_are_shown_most_wrong_first_each_with_what_to_do(scene):
    scene.troubled().running()
    shot = look(scene.workspace.root, scene.now)
    assert [p.kind for p in shot.problems] == ["folder", "job", "label", "set aside", "novelty", "encoder"]
    for problem in shot.problems:
        assert problem.todo or "`alscope" in problem.message or "mend the file" in problem.message
    text = "\n".join(frame(shot, 80, 40, View(page="problems")))
    assert text.index("/data/em2") < text.index("is not markup") < text.index("s00005.tif") < text.index("cut.tif")
    assert text.count("→") == 4


@pytest.mark.parametrize("page", PAGES)
def test_a_sign_stands_beside_every_colour(scene, page):
    """Who sees no colours misses nothing: a coloured piece holds a sign, or stands right behind one of the same colour."""
    scene.troubled().running()
    scene.store.alarms.raise_(Alarm("quality", "volume:1", "stack_00.tif: has it drifted?"), (), 0, scene.now)
    shot = look(scene.workspace.root, scene.now)
    console = Console(width=120, height=40, color_system="truecolor", force_terminal=True)
    drawn = console.render_lines(render(shot, 120, 40, View(page=page), VITALS), console.options.update(height=40))
    n = 0
    for line in drawn:
        for segment in line:
            if segment.style is not None and segment.style.color is not None and segment.text.strip():
                n += 1
                assert set(segment.text) & SIGNS, segment
    assert n >= 3


def test_without_colour_no_colour_is_written(scene, monkeypatch):
    scene.troubled().running()
    console = Console(width=80, height=24, color_system="truecolor", force_terminal=True, no_color=True)
    with console.capture() as drawn:
        console.print(render(look(scene.workspace.root, scene.now), 80, 24, PLAIN, VITALS))
    styles = set(re.findall(r"\x1b\[([0-9;]*)m", drawn.get()))
    assert not {s for s in styles if re.search(r"(^|;)(3[0-7]|4[0-7]|9[0-7]|38|48)(;|$)", s)}
    assert "[1 overview]" in drawn.get().replace("\x1b[1;7m", "").replace("\x1b[0m", "")


def test_a_fresh_alarm_stands_on_every_page_and_goes_after_a_while(scene):
    scene.live().running()
    scene.store.alarms.raise_(Alarm("queue", "full", "8 patches wait for an expert"), (), 0, scene.now - 120)
    scene.store.alarms.raise_(Alarm("novelty", "volume:1", f"{HOSTILE}: unlike all"), (), 0, scene.now - 60)
    for page in PAGES:
        text = frame(look(scene.workspace.root, scene.now), 80, 24, View(page=page))
        (line,) = [line for line in text if line.startswith(" ! ")]
        assert line.startswith(" ! 1 min ago (1 more alarm): novelty: a[red]b[bold]\\x1b[31m \\u202eevil.tif")
    later = look(scene.workspace.root, scene.now + 1000)
    assert not [line for line in frame(later, 80, 24) if line.startswith(" ! ")]


def test_a_stopped_daemon_is_told_with_when_it_was_last_seen(scene):
    scene.live()
    scene.store.state.stopped(scene.now - 125)
    first = frame(look(scene.workspace.root, scene.now), 80, 24)[0]
    assert re.fullmatch(r"alscope  ○ not running since (.+ )?\d\d:\d\d(:\d\d)?, last seen 2 min ago", first)


def test_a_job_without_words_of_its_own_is_told_how_long_it_takes(scene):
    scene.live().running()
    job = scene.claimed("predict", f"volume:{scene.volumes[2]}", scene.volumes[2])  # 190 s ago
    scene.store.jobs.heartbeat(job.id, job.fence, 0.25, "12 of 48 tiles", scene.now)
    text = "\n".join(frame(look(scene.workspace.root, scene.now), 120, 40))
    assert "25%  segmenting stack_02.tif, about 9 min left; 12 of 48 tiles" in text


def test_the_verdict_on_a_round_is_told_in_full_below(scene):
    scene.live().running()
    verdict = "undecided, M_f-002 stays: " + ", ".join(f"reason {n} of many" for n in range(12))
    learning, labels = scene.store.learning, scene.store.labels.current()
    learning.open_round(labels, "digest-3", 0.03, scene.now - 40)
    learning.add_model("M_f-003", "finetuned", "candidate", scene.artifact("f-3"), None, labels, "d", scene.now)
    learning.judge(3, "M_f-003")
    scored = scores(0.5) | {"interval": {"f1": [0.41, 0.62], "dice": [0.6, 0.8]}}
    learning.finish_round(learning.active_round(), False, verdict, scored, None, scene.now)
    text = frame(look(scene.workspace.root, scene.now), 80, 30, View(page="models"))
    below = " ".join(line.strip() for line in text[text.index(next(t for t in text if t.startswith("─ ✗ round 3"))) :])
    assert "M_f-003, 3 labels, 1 held out, 3.0% of the pool: F1 0.500 (0.41-0.62) Dice 0.700 (0.60-0.80)" in below
    assert verdict in below
    wide = "\n".join(frame(look(scene.workspace.root, scene.now), 200, 60))
    assert "F1 0.500 (0.41-0.62) Dice 0.700 (0.60-0.80)" in wide


def test_a_picture_on_paper_has_everything_and_no_keys(scene):
    scene.troubled().running()
    lines = [line.plain for line in once(look(scene.workspace.root, scene.now), 100, 50, VITALS)]
    text = "\n".join(lines)
    assert "q quit" not in text
    assert "s by" not in text
    assert lines[-1]
    for words in ("● running", "queue: 4 patches", "M_f-002", "problems: 6", "events"):
        assert words in text


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOBj", ["up", "down", "j"]),
        (b"\t\x1b[Z", ["tab", "left"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[200~x", []),
        (b"\xc3\xa4", []),
        (b"\x1b[6~", ["page down"]),
    ],
)
def test_names_of_keys(sent, found):
    assert names(sent) == found


def test_without_a_terminal_it_says_once_what_changed(scene, capsys):
    scene.live().running()
    with LiveView(scene.workspace.root) as view:
        view.refresh()
        view.refresh()
        scene.arriving("another.tif")
        view.refresh()
    first, second = capsys.readouterr().out.splitlines()
    assert "1 arriving" in first
    assert "2 arriving" in second


def test_an_unreadable_database_leaves_the_last_picture_and_says_so(scene, capsys):
    scene.live().running()
    with LiveView(scene.workspace.root) as view:
        view.refresh()
        scene.close()
        for path in scene.workspace.root.glob("alscope.db*"):
            path.unlink()
        (scene.workspace.root / "alscope.db").write_bytes(b"no database, but as long as one" * 100)
        view.refresh()
        assert len(view.snapshot.queue) == 4
    assert "the database is damaged" in capsys.readouterr().out.splitlines()[-1]


def test_vitals_are_read_without_waiting(tmp_path):
    reader = VitalsReader(tmp_path / "not" / "there" / "yet")
    began = time.monotonic()
    found = reader.read()
    reader.close()
    assert time.monotonic() - began < 0.5
    assert 0 < found.ram_used_gb < found.ram_total_gb
    assert found.disk_free_gb > 0


def test_what_nvidia_smi_says():
    assert gpu_words("37, 20480, 143771\n0, 0, 143771\n") == "37% 21/151 GB, 0% 0/151 GB"
    assert gpu_words("No devices were found\n") == "does not answer"


class Terminal:
    """`alscope dashboard` in a pseudo-terminal."""

    def __init__(
        self, config: Path, width: int = 80, height: int = 24, environment: dict[str, str] | None = None
    ) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(width, height)
        self.before = termios.tcgetattr(self.slave)
        self.written = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli.main", "--config", str(config), "dashboard"],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            # a size in the environment, as test runners set it, would count for more than the terminal's own
            env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
            | {"TERM": "xterm-256color"}
            | (environment or {}),
        )

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read(self) -> None:
        while select.select([self.master], [], [], 0.05)[0]:
            try:
                self.written += os.read(self.master, 65536)
            except OSError:
                return

    def shows(self, words: str, timeout_s: float = 20.0) -> None:
        """Wait until a frame shows these words; then forget what was shown."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.read()
            text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self.written).decode(errors="replace")
            if words in text:
                self.written = self.written[-4:] if self.written.endswith(LEAVE) else b""
                return
        raise AssertionError(f"{words!r} is not shown:\n{text[-3000:]}")

    def ended(self) -> int:
        """Wait for the end; the terminal must be as it was."""
        code = self.process.wait(10)
        self.read()
        assert LEAVE in self.written
        assert SHOW_CURSOR in self.written
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def terminal(scene) -> Iterator[Terminal]:
    made = Terminal(scene.live().running().config)
    yield made
    made.close()


def test_keys_on_a_real_terminal(terminal, scene):
    terminal.shows("fine-tuning, round 3")
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.press(b"2")
    terminal.shows("s00008")
    terminal.press(b"?")
    terminal.shows("quit; the daemon goes on")
    terminal.press(b"5")
    terminal.shows("stack_00.tif: 64 x 512 x 512 voxels")
    terminal.press(b"p")
    terminal.shows("asked the daemon to pause")
    (asked,) = scene.workspace.commands.glob("*.json")
    assert '"pause"' in asked.read_text()
    terminal.resize(130, 40)
    terminal.press(b"3")
    terminal.shows("2.0%")  # a column that only a wide screen has
    terminal.resize(80, 24)
    terminal.press(b"2s")
    terminal.shows("s by novelty  f all")
    terminal.press(b"ff")
    terminal.shows("none of the 4: f shows others")  # nobody claimed any
    terminal.press(b"fj")
    terminal.shows("s by novelty  f to mend")
    terminal.press(b"q")
    assert terminal.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_the_terminal_in_good_order(terminal, number):
    terminal.shows("fine-tuning, round 3")
    terminal.process.send_signal(number)
    assert terminal.ended() == (0 if number == signal.SIGINT else 128 + number)


def test_a_daemon_that_stops_and_starts_and_is_killed_and_a_terminal_that_goes_away(terminal, scene):
    terminal.shows("● running")
    scene.store.state.stopped(time.time())
    scene._lock.release()
    terminal.shows("not running since")
    scene._lock.take()
    scene.store.state.started(os.getpid(), "0.1.0", time.time())
    terminal.shows("● running")
    scene._lock.release()
    terminal.shows("ended unexpectedly, last seen")
    os.close(terminal.slave)
    os.close(terminal.master)
    assert terminal.process.wait(10) in (0, 74, 128 + signal.SIGHUP)


def test_a_database_that_is_being_migrated_is_waited_for(scene, tmp_path):
    """One of an older alscope; then the daemon that migrates it is there; then it is done."""
    scene.close()
    for path in scene.workspace.root.glob("alscope.db*"):
        path.unlink()
    old = open_writer(scene.workspace.root / DATABASE)
    older = migrations()
    older._migrations = older._migrations[:10]
    older.apply(old)
    old.conn.close()
    terminal = Terminal(scene.config, 160)
    try:
        terminal.shows("an older alscope made this database")
        lock = Lock(scene.workspace)
        lock.take()
        terminal.shows("the database is just being brought up to date; nothing is lost")
        store = Store(scene.workspace.root)
        store.state.started(os.getpid(), "0.1.0", time.time())
        terminal.shows("nothing to do")
        store.close()
        lock.release()
        terminal.press(b"q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


def test_killing_it_harms_nothing_and_it_opens_nothing_for_writing(terminal, scene):
    terminal.shows("fine-tuning, round 3")
    before = {
        p.name: p.read_bytes() for p in scene.workspace.root.rglob("*") if p.is_file() and "alscope.db" not in p.name
    }
    modes = []
    for fd in Path(f"/proc/{terminal.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name = os.readlink(fd)
            # SQLite opens its log and its list of readers so whatever it is asked for: a reader writes itself into that list
            if str(scene.workspace.root) in name and not name.endswith(("-wal", "-shm")):
                info = Path(f"/proc/{terminal.process.pid}/fdinfo/{fd.name}").read_text()
                modes.append(int(info.split("flags:")[1].split()[0], 8) & os.O_ACCMODE)
    assert set(modes) <= {os.O_RDONLY}
    terminal.process.kill()
    terminal.process.wait()
    scene.store.state.event("volume", "the daemon goes on writing", scene.now)
    assert look(scene.workspace.root, scene.now).events[0].message == "the daemon goes on writing"
    assert {
        p.name: p.read_bytes() for p in scene.workspace.root.rglob("*") if p.is_file() and "alscope.db" not in p.name
    } == before


def test_a_terminal_without_colours(scene):
    """NO_COLOR (no-color.org): bold and reversed text remain, and the signs."""
    terminal = Terminal(scene.troubled().running().config, environment={"NO_COLOR": "1"})
    try:
        terminal.shows("✗ rejected")
        terminal.press(b"4")
        terminal.read()
        time.sleep(0.3)
        terminal.read()
        codes = {c for found in re.findall(rb"\x1b\[([0-9;]*)m", terminal.written) for c in found.split(b";")}
        assert codes <= {b"", b"0", b"1", b"2", b"3", b"7"}
        terminal.press(b"q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


def test_as_json_it_is_the_status_and_the_machine(scene):
    scene.troubled().running()
    command = [sys.executable, "-m", "daemon.cli.main", "--config", str(scene.config), "dashboard", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["machine"]["ram_total_gb"] > 0
    assert [p["kind"] for p in told["problems"]][:2] == ["folder", "job"]
    assert told["problems"][0]["todo"].startswith("mount it")
