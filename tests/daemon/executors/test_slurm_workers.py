"""Workers that SLURM starts: asked for when jobs wait, again when they are lost, and given back when nothing is to do."""

from __future__ import annotations

import queue
import socket
import time
from pathlib import Path

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config_cluster import Slurm
from daemon.errors import WorkspaceError
from daemon.executors.elastic import Lasting, to_close, wanted
from daemon.executors.port import Finished, Places
from daemon.executors.slurm import SlurmWorkers, reachable, script
from tests.daemon.executors.clusters import ROOT, connected
from tests.daemon.executors.fake_slurm import FakeSlurm
from tests.daemon.executors.test_contract import order, volume


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 5), st.integers(5, 20))
def test_as_many_as_long_jobs_but_no_more_than_are_allowed(n_long, n_short, least, most):
    n = wanted(n_long, n_short, least, most)
    assert least <= n <= most
    assert n >= min(most, n_long) and (n > 0) == (n_long + n_short + least > 0)
    assert n <= max(least, n_long, 1)


@given(
    st.sets(st.integers(0, 9).map(str)),
    st.dictionaries(st.integers(0, 9).map(str), st.floats(0, 100)),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_nobody_who_works_is_sent_away_and_never_too_many(asked, idle, n, more):
    lasting = n + more
    going = to_close(asked, idle, n, lasting, 50.0)
    assert len(going) == len(set(going)) <= max(0, len(asked) - n)
    assert all(name in asked and (name not in idle or idle[name] >= 50.0) for name in going)
    pending = asked - idle.keys()
    assert len(pending & set(going)) == min(len(pending), max(0, len(asked) - lasting)), (
        "they go when none was wanted for long"
    )


def test_a_moment_without_work_is_not_the_end_of_it():
    lasting = Lasting()
    assert [
        lasting.now(n, at, 60.0) for n, at in ((0, 0), (3, 1), (0, 2), (2, 50), (0, 60), (1, 61), (0, 100), (0, 121))
    ] == [*(0, 3, 3, 3, 3, 1, 1, 0)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(workers: SlurmWorkers, n: int, good, timeout: float = 60.0) -> None:
    """Look again and again."""
    end = time.monotonic() + timeout
    while not good():
        assert time.monotonic() < end
        workers.look(n)
        time.sleep(0.1)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", made.path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield made
    made.end()


def test_workers_come_when_they_are_wanted_are_replaced_and_go(slurm: FakeSlurm, tmp_path: Path):
    heard: list[str] = []
    rule = Slurm(
        workers=3, idle_min=0.05, partition="gpu", cpus=6, hours=1.5, options=["--requeue"], before=["true # nodes"]
    )
    address = f"tcp://127.0.0.1:{free_port()}"
    places = Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")
    log = tmp_path / "workers.log"
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "500ms"}):
        workers = SlurmWorkers(address, rule, False, log, heard.append)
        try:
            workers.look(0)
            assert slurm.jobs() == []
            until(workers, 1, lambda: heard[-1] == "1 workers of SLURM are here")
            (first,) = slurm.jobs()
            script = slurm.script(first)
            for words in ("-p gpu", "--cpus-per-task=6", "--mem=32G", "-t 1:30:00", "--requeue", f"--output={log}"):
                assert f"#SBATCH {words}\n" in script, script
            assert "\ntrue # nodes\n" in script and "--nthreads 2" in script and "--no-nanny" in script
            assert "GPU" not in script and "gres" not in script

            executor = connected(address, places, reports := queue.SimpleQueue())
            executor.long = False
            executor.start(order(executor, volume(tmp_path / "a.tif")))
            while not isinstance(said := reports.get(timeout=60), Finished):
                pass
            executor.shutdown(0.0)
            assert said == Finished(1, 1, "done")

            slurm.lose(first)
            until(workers, 1, lambda: slurm.jobs() not in ([], [first]) and heard[-1] == "1 workers of SLURM are here")
            until(workers, 0, lambda: slurm.jobs() == [] and heard[-1] == "0 workers of SLURM are here")
        finally:
            workers.close()
    assert slurm.jobs() == []


def test_jobs_that_wait_at_slurm_are_taken_back_and_those_that_vanish_are_asked_for_again(
    slurm: FakeSlurm, tmp_path: Path
):
    heard: list[str] = []
    workers = SlurmWorkers(
        f"tcp://127.0.0.1:{free_port()}", Slurm(workers=3), True, tmp_path / "workers.log", heard.append
    )
    try:
        (slurm.folder / "refuses").touch()
        workers.look(2)
        assert any("QOSMaxSubmitJobPerUserLimit" in words and "\n" not in words for words in heard), heard
        (slurm.folder / "refuses").unlink()
        (slurm.folder / "full").touch()
        workers.look(2)
        assert slurm.jobs() == [], "it is not asked at once again"
        workers._next_try = 0.0
        workers.look(2)
        assert len(slurm.jobs()) == 2 and heard[-1] == "0 workers of SLURM are here, 2 asked for"
        assert "#SBATCH --gres=gpu:1\n" in slurm.script(slurm.jobs()[0]) and "--resources GPU=1" in slurm.script(
            slurm.jobs()[0]
        )
        first, second = slurm.jobs()
        slurm.lose(first)  # somebody cancelled it
        workers._next_ask = 0.0
        workers.look(2)
        workers.look(2)
        assert len(slurm.jobs()) == 2 and second in slurm.jobs() and first not in slurm.jobs()
        workers.look(1)
        assert len(slurm.jobs()) == 2, "it may be wanted again in a moment"
        slurm.lose(min(slurm.jobs()))
        (slurm.folder / "refuses").touch()
        workers._next_ask, before = 0.0, len(heard)
        workers.look(2)  # one goes, another is to come, and SLURM says no
        assert any("QOSMaxSubmitJobPerUserLimit" in words for words in heard[before:])
        (slurm.folder / "refuses").unlink()
        workers._next_try = 0.0
        workers.look(2)
        assert len(slurm.jobs()) == 2
        workers._lasting.since -= 3600.0
        workers.look(1)
        assert len(slurm.jobs()) == 1
    finally:
        workers.close()
    assert slurm.jobs() == []


def test_what_slurm_does_not_cancel_is_said(slurm: FakeSlurm, tmp_path: Path):
    heard: list[str] = []
    rule, log = Slurm(workers=1), tmp_path / "workers.log"
    workers = SlurmWorkers(f"tcp://127.0.0.1:{free_port()}", rule, False, log, heard.append)
    (slurm.folder / "full").touch()
    workers.look(1)
    (number,) = slurm.jobs()
    (slurm.bin / "scancel").write_text("#!/bin/bash\necho 'scancel: error: Access denied' >&2; exit 1\n")
    workers.close()
    assert heard[-1] == f"SLURM still has batch jobs of these workers; end them by: scancel {number}"


def test_the_file_for_what_workers_say_has_any_name(tmp_path: Path):
    plain, odd = tmp_path / "workers.log", tmp_path / "my ws" / "100%" / "workers.log"
    lines = [script("tcp://10.0.0.5:8786", Slurm(workers=1), False, log).splitlines() for log in (plain, odd)]
    assert f"#SBATCH --output={plain}" in lines[0]
    assert f'#SBATCH --output="{tmp_path}/my ws/100%%/workers.log"' in lines[1]


def test_workers_get_an_address_that_they_can_find(monkeypatch: pytest.MonkeyPatch):
    assert reachable("tcp://10.0.0.5:8786") == "tcp://10.0.0.5:8786"
    assert reachable("tcp://localhost:1") == "tcp://127.0.0.1:1", "whoever says so has workers on this machine alone"
    known = {"scope": "10.1.2.3", "debian": "127.0.1.1"}
    monkeypatch.setattr(socket, "gethostbyname", lambda name: known[name])
    assert reachable("tcp://scope:8786") == "tcp://10.1.2.3:8786"
    with pytest.raises(WorkspaceError, match=r"debian is 127\.0\.1\.1 here, where no node finds it; set run\.address"):
        reachable("tcp://debian:8786")

    def nobody(name: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", nobody)
    with pytest.raises(WorkspaceError, match=r"nobody knows the host x .*; set run\.address"):
        reachable("tcp://x:8786")


def test_a_scheduler_that_cannot_listen_is_one_line(slurm: FakeSlurm, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            WorkspaceError, match=r"run\.address = tcp://127\.0\.0\.1:\d+: the scheduler cannot listen there"
        ) as e:
            SlurmWorkers(address, Slurm(workers=1), False, tmp_path / "log", print)
    assert "\n" not in str(e.value)
