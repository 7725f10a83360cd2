"""A SLURM of this machine alone: sbatch runs the script as SLURM does, by its shell on a host; squeue and scancel know its jobs."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path

SBATCH = """#!/bin/bash
cd "{folder}"
[ -e refuses ] && {{ echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; }}
exec 9> lock; flock 9; id=$(( $(cat last 2>/dev/null || echo 100) + 1 )); echo $id > last; exec 9>&-
cp "$1" $id.sh
if [ -e full ]; then touch $id.pid; else setsid bash $id.sh >> $id.out 2>&1 & echo $! > $id.pid; fi
echo "Submitted batch job $id"
"""
SQUEUE = """#!/bin/bash
cd "{folder}"; found=1
for word in "$@"; do case "$word" in --jobs=*) ids=${{word#--jobs=}};; esac; done
for id in ${{ids//,/ }}; do
  [ -e $id.pid ] || continue
  pid=$(cat $id.pid); if [ -z "$pid" ] || kill -0 $pid 2>/dev/null; then echo $id; found=0; fi
done
[ $found = 0 ] || {{ echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }}
"""
SCANCEL = """#!/bin/bash
cd "{folder}"; pid=$(cat $1.pid 2>/dev/null); rm -f $1.pid; [ -n "$pid" ] && kill -9 -- -$pid
exit 0
"""


class FakeSlurm:
    """Its commands lie in `bin`; whoever is to find them has that in PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
            path = self.bin / name
            path.write_text(text.format(folder=folder))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def path(self) -> str:
        """PATH with its commands."""
        return os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])

    def jobs(self) -> list[int]:
        """Batch jobs that were submitted and not cancelled."""
        return sorted(int(path.stem) for path in self.folder.glob("*.pid"))

    def script(self, job: int) -> str:
        return (self.folder / f"{job}.sh").read_text()

    def lose(self, job: int) -> None:
        """The node dies, or the time is over."""
        pid = (self.folder / f"{job}.pid").read_text().strip()
        if pid:
            os.killpg(int(pid), signal.SIGKILL)
        (self.folder / f"{job}.pid").unlink()

    def end(self) -> None:
        for job in self.jobs():
            self.lose(job)
        time.sleep(0.1)
