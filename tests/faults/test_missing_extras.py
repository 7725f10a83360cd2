"""Files that need a package which is not installed, before a real daemon: set aside with the command, read once it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.alcore.volumes.test_extras import FILES
from tests.daemon.daemons import real_daemon
from tests.faults.invariants import check
from tests.faults.test_bad_acquisitions import CONFIG, query

WATCHED = CONFIG.replace("in/stacks", "in/none")
FAILED = "SELECT COUNT(*) FROM job_event WHERE finish = 'failed'"


def test_files_are_read_at_the_first_start_with_the_package(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(f"import sys\nfor name in {list(FILES)}:\n    sys.modules[name] = None\n")
    with real_daemon(tmp_path, WATCHED) as daemon:
        for folder in ("none", "others"):
            (daemon.folder / folder).mkdir()
        for _, name in FILES.values():
            shutil.copyfile(real_data("formats") / name, daemon.folder / "others" / Path(name).name)
        before = daemon.environment
        daemon.environment = before | {"PYTHONPATH": str(blocked)}
        for start in range(2):  # a start that changes nothing says the same again
            daemon.start()
            daemon.ready()
            daemon.wait(lambda s: s.volumes["set_aside"] == len(FILES), 60)
            daemon.wait(lambda s, start=start: query(daemon, FAILED) == [((start + 1) * len(FILES),)], 60)
            told = query(daemon, "SELECT name, reason FROM source")
            for package, (extra, path) in FILES.items():
                (reason,) = [why for name, why in told if name == Path(path).name]
                assert reason.startswith(f"{Path(path).name}: ")
                assert reason.endswith(
                    f'needs the package {package} (BSD-3-Clause): pip install ".[{extra}]" in your clone of alscope'
                )
                assert reason in daemon.alscope("status", "--problems").stdout
            assert daemon.stop() == 0
        daemon.environment = before
        daemon.start()
        daemon.ready()
        daemon.wait(lambda s: s.volumes["set_aside"] == 0 and not s.running, 60)
        assert {state for (state,) in query(daemon, "SELECT state FROM source")} == {"ingested"}
        (n_read,) = query(daemon, "SELECT COUNT(DISTINCT source_id) FROM source_part")
        assert n_read == (len(FILES),)
        assert daemon.stop() == 0
        check(daemon.workspace)
