"""A dask scheduler in this process, and workers for it that SLURM starts: `alscope cluster`. Imports dask_jobqueue."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dask_jobqueue import SLURMCluster
from dask_jobqueue.slurm import SLURMJob
from distributed import Status

from daemon.config_cluster import Slurm
from daemon.errors import WorkspaceError
from daemon.executors.elastic import Lasting, to_close
from daemon.executors.perform import one_line

SLOTS = 2
"""Jobs that a worker takes at once: a long one, and short ones beside it."""
DEATH_S = 300
"""A worker that finds no scheduler for so long ends, and with it its batch job."""
ASK_EVERY_S = 60.0
"""So often SLURM is asked what became of batch jobs whose worker has not come."""
AGAIN_S = 60.0
"""After SLURM refused a batch job the next is tried so much later."""
QUEUE_S = 30.0
"""So long `squeue` has to answer."""


def script(address: str, slurm: Slurm, gpu: bool, log: Path) -> str:
    """The job script that SLURM gets for a worker of the scheduler at this address."""
    found: str = SLURMJob(address, name="alscope-worker", **_worker(slurm, gpu, log)).job_script()
    return found


def _worker(slurm: Slurm, gpu: bool, log: Path) -> dict[str, Any]:
    """What jobqueue has to know of a worker."""
    minutes = max(1, round(60 * slurm.hours))
    told = str(log.resolve()).replace("%", "%%")  # which SLURM fills in otherwise
    said = [f'--output="{told}"' if " " in told else f"--output={told}", "--open-mode=append"]
    return {
        "queue": slurm.partition or None,
        "account": slurm.account or None,
        "cores": SLOTS,
        "processes": 1,
        "memory": f"{slurm.memory_gb:g}GiB",
        "job_cpu": slurm.cpus,
        "walltime": f"{minutes // 60}:{minutes % 60:02d}:00",
        "job_extra_directives": [*said, *([f"--gres={slurm.gres}"] if gpu else []), *slurm.options],
        "job_script_prologue": list(slurm.before),
        "worker_extra_args": ["--no-dashboard", *(["--resources", "GPU=1"] if gpu else [])],
        "local_directory": '"${TMPDIR:-/tmp}"',
        "job_name": "alscope-worker",
        "python": slurm.python or sys.executable,
        "nanny": False,
        "death_timeout": DEATH_S,
    }


def reachable(address: str) -> str:
    """The address that workers get, of one whose host may be a name. Raises WorkspaceError for a name that nobody knows, or that
    means this machine to itself alone (as Debian's /etc/hosts has it)."""
    place = urlsplit(address)
    name = str(place.hostname)
    say = 'set run.address = "tcp://<this machine\'s address in the network of the nodes>:8786"'
    try:
        number = socket.gethostbyname(name)
    except OSError as e:
        raise WorkspaceError(f"{address}: nobody knows the host {name} ({one_line(e)}); {say}") from None
    if number.startswith("127.") and name not in (number, "localhost"):
        raise WorkspaceError(f"{address}: {name} is {number} here, where no node finds it; {say}")
    return f"tcp://{number}:{place.port}"


class SlurmWorkers:
    """From its making to `close`. log: a file for what workers say. tell: is given what happens, in a line each.

    Raises WorkspaceError where the scheduler cannot listen at the address.
    """

    def __init__(self, address: str, slurm: Slurm, gpu: bool, log: Path, tell: Callable[[str], None]) -> None:
        self._slurm, self._tell = slurm, tell
        self._idle_since: dict[str, float] = {}
        self._lasting = Lasting()
        self._next_ask = self._next_try = 0.0
        self._said = ""
        place = urlsplit(address)
        try:
            with socket.socket() as free:  # what distributed says of it is about something else
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind((place.hostname, place.port))
            scheduler = {"host": place.hostname, "port": place.port, "dashboard": False}
            self._cluster = SLURMCluster(scheduler_options=scheduler, **_worker(slurm, gpu, log))
        except (RuntimeError, ValueError, OSError) as e:
            words = one_line(e.__cause__ or e)
            raise WorkspaceError(f"run.address = {address}: the scheduler cannot listen there ({words})") from e

    def look(self, n_wanted: int) -> None:
        """Ask for more workers, let some go, and see what became of those that were asked for. Called again and again."""
        now = time.monotonic()
        scheduler: Any = self._cluster.scheduler
        there = {str(w.name): bool(w.processing) for w in list(scheduler.workers.values())}
        asked = set(self._cluster.worker_spec)
        self._idle_since = {n: self._idle_since.get(n, now) for n, busy in there.items() if not busy}
        idle = {n: now - self._idle_since[n] if n in self._idle_since else 0.0 for n in there}
        patience_s = 60.0 * self._slurm.idle_min
        lasting = self._lasting.now(n_wanted, now, patience_s)
        going = to_close(asked, idle, n_wanted, lasting, patience_s)
        going += self._vanished(asked - there.keys() - set(going), now)
        if going:  # which also starts what is missing
            self._tried(now, self._cluster.scale_down, going)
        self._ask(n_wanted, now)
        here = len(there.keys() & set(self._cluster.worker_spec))
        waiting = len(self._cluster.worker_spec) - here
        self._say(f"{here} workers of SLURM are here" + (f", {waiting} asked for" if waiting else ""))

    def _ask(self, n_wanted: int, now: float) -> None:
        """Batch jobs for workers that are missing, also for those that were lost."""
        spec = self._cluster.worker_spec
        if now < self._next_try or (len(spec) >= n_wanted and not spec.keys() - self._cluster.workers.keys()):
            return
        while len(spec) < n_wanted:
            spec.update(self._cluster.new_worker_spec())
        self._tried(now, self._cluster._correct_state)

    def _tried(self, now: float, act: Callable[..., Any], *arguments: Any) -> None:
        """Let the cluster be as it ought to be. What SLURM refuses is said, and tried again later."""
        try:
            self._cluster.sync(act, *arguments)
        except Exception as e:  # sbatch is not here, or says no
            self._next_try = now + AGAIN_S
            self._forget_refused()
            self._say(f"SLURM gives no worker ({one_line(e)}); it is asked again in {AGAIN_S:.0f} s")

    def _forget_refused(self) -> None:
        """Distributed holds a worker that could not be started for one that is there."""
        for name, job in list(self._cluster.workers.items()):
            if job.job_id is None:
                job.status = Status.closed
                del self._cluster.workers[name]
                self._cluster.worker_spec.pop(name, None)

    def _vanished(self, names: Sequence[str] | set[str], now: float) -> list[str]:
        """Those of these workers whose batch job SLURM knows no more: it was cancelled, or ended before the worker came."""
        jobs = {str(w.job_id): n for n in names if (w := self._cluster.workers.get(n)) is not None and w.job_id}
        if not jobs or now < self._next_ask:
            return []
        self._next_ask = now + ASK_EVERY_S
        known = self._known(jobs)
        return [] if known is None else [name for number, name in jobs.items() if number not in known]

    def _known(self, numbers: Collection[str], *more: str) -> set[str] | None:
        """Those of these batch jobs that SLURM has; None where it does not say."""
        if not numbers:
            return set()
        command = ["squeue", "--noheader", "--format=%i", *more, f"--jobs={','.join(numbers)}"]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=QUEUE_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if asked.returncode == 0:
            return set(asked.stdout.split())
        # squeue fails where it knows none of them any more
        return set() if "invalid job id" in asked.stderr.lower() else None

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            self._tell(words)

    def close(self) -> None:
        """Batch jobs are cancelled; what ran in them is done again elsewhere. Those that SLURM does not cancel are said."""
        numbers = [str(job.job_id) for job in self._cluster.workers.values() if job.job_id]
        with contextlib.suppress(Exception):  # scancel is not here, or says no
            self._cluster.close()
        left = sorted(self._known(numbers, "--states=PENDING,RUNNING") or ())
        if left:
            self._say(f"SLURM still has batch jobs of these workers; end them by: scancel {' '.join(left)}")
