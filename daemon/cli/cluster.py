"""`alscope cluster`: a scheduler, and workers that SLURM starts when jobs wait."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import threading
import time
from types import FrameType

import click

from daemon.cli.session import Session, config_option, pass_session
from daemon.errors import ConfigError, WorkspaceError

LOOK_EVERY_S = 5.0


@click.command("cluster")
@click.option("--script", is_flag=True, help="Print the job script that SLURM would get, and end.")
@config_option
@pass_session
def cluster_command(session: Session, script: bool) -> None:
    """Run a scheduler for the daemon, and ask SLURM for workers when jobs wait.

    It goes on when the daemon is restarted, and the other way round. The table [run.slurm] of config.toml says what workers
    SLURM is asked for; docs/cluster.md says the rest. Ctrl-C, SIGTERM, or the end of its terminal ends it, and the batch jobs with it.

    \b
    Example:
      alscope cluster --script
      alscope cluster
    """
    from daemon.cli.output import say

    run = session.settings.run
    if not run.slurm.workers:
        raise ConfigError("run.slurm.workers is 0: say in [run.slurm] how many workers SLURM may be asked for")
    from daemon.executors.chosen import need_distributed, on_cluster
    from daemon.executors.elastic import wanted
    from daemon.executors.logs import WORKERS_LOG

    need_distributed("dask_jobqueue")
    from daemon.executors.slurm import SlurmWorkers, reachable
    from daemon.executors.slurm import script as script_of

    away, over = on_cluster(run), threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        over.set()

    log, address = session.workspace.places.jobs / WORKERS_LOG, reachable(run.scheduler)
    tell = lambda words: say(f"{_now()}  {words}")  # noqa: E731
    if script:
        click.echo(script_of(address, run.slurm, run.device == "cuda", log), nl=False)
        return
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)  # SLURM ends a batch job that cannot write
    workers = SlurmWorkers(address, run.slurm, run.device == "cuda", log, tell)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        say(f"{_now()}  the scheduler listens at {address}")
        while not over.is_set():
            n_long, n_short = _demand(session, away)
            n_long = min(n_long, run.long_jobs or n_long)
            workers.look(wanted(n_long, n_short, run.slurm.least, run.slurm.workers))
            over.wait(LOOK_EVERY_S)
    finally:
        workers.close()


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _demand(session: Session, away: frozenset[str]) -> tuple[int, int]:
    """Long and short jobs of these stages that wait for a worker or have one; none as long as there is no database."""
    from daemon.look import reading
    from daemon.policy import may_start
    from daemon.store.listing import demand

    now, hours = time.time(), session.settings.training.hours
    try:
        with reading(session.workspace.root) as db:
            return demand(db, away, lambda stage, long: may_start(stage, long, hours, now), now)
    except (WorkspaceError, sqlite3.Error):  # nothing is let go for a moment in which it cannot be read
        return 0, 0
