"""`alscope workers`: where jobs run, and what each place does now."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import NotRunningError

if TYPE_CHECKING:
    from daemon.store.listing import JobView


@dataclass(frozen=True)
class _Place:
    """One worker. doing: jobs of this workspace in words, and how many of others. remark: why it gets no jobs, or ""."""

    worker: str
    host: str
    slots: int
    gpus: int
    gpu_names: list[str]
    versions: dict[str, str]
    doing: list[str]
    others: int
    remark: str


@click.command("workers")
@json_option
@config_option
@pass_session
def workers_command(session: Session, as_json: bool) -> None:
    """Every worker: its host, how many jobs it takes at once, GPUs, what it does now, versions, and why it gets no jobs.

    Without a cluster that is this machine. What a cluster has to do for other workspaces is counted.

    \b
    Example:
      alscope workers
      alscope workers --json | jq '.[] | {host, doing}'
    """
    from alcore.run import STAGES
    from daemon.cli.output import print_json, say, table
    from daemon.executors.chosen import on_cluster

    running = _running(session)
    away = on_cluster(session.settings.run)
    places = [] if away == frozenset(STAGES) else [_here(session, running, away)]
    if away:
        try:
            places += _cluster(session, running)
        except NotRunningError as e:
            if not places:
                raise
            places.append(_Place(session.settings.run.scheduler, "", 0, 0, [], {}, [], 0, str(e)))
    if as_json:
        print_json([asdict(place) for place in places])
        return
    if not places:
        say(f"the scheduler at {session.settings.run.scheduler} has no workers{_elastic(session)}")
        return
    rows = [
        [p.worker, p.host, str(p.slots), _gpus(p), ", ".join(_work(p)) or "idle", _versions(p), p.remark]
        for p in places
    ]
    table(["worker", "host", ">slots", "GPUs", "does", "versions", "remarks"], rows, flexible=("does", "remarks"))


def _elastic(session: Session) -> str:
    return "; `alscope cluster` asks SLURM for some when jobs wait" if session.settings.run.slurm.workers else ""


def _work(place: _Place) -> list[str]:
    more = [f"{place.others} of other workspaces"] if place.others else []
    return [*place.doing, *more]


def _gpus(place: _Place) -> str:
    if not place.gpus:
        return ""
    return " ".join([str(place.gpus), *(f"({name})" for name in dict.fromkeys(place.gpu_names))])


def _versions(place: _Place) -> str:
    return ", ".join(f"{name} {version}" for name, version in place.versions.items())


def _running(session: Session) -> dict[int, JobView]:
    """Jobs that run now, by id; none where no daemon does."""
    from daemon.look import reading
    from daemon.store.listing import jobs

    if not (session.workspace.root / "alscope.db").exists():
        return {}
    with reading(session.workspace.root) as db:
        return {job.id: job for job in jobs(db, "running", 0)}


def _words(job: JobView) -> str:
    from daemon.wording import doing, duration

    since = f", {duration(time.time() - job.started_at)}" if job.started_at else ""
    return f"{doing(job.stage, job.name)} (job {job.id}, {job.progress:.0%}{since})"


def _here(session: Session, running: dict[int, JobView], away: frozenset[str]) -> _Place:
    from daemon.device import gpu_names
    from daemon.executors.chosen import device_here
    from daemon.executors.remote import versions

    run = session.settings.run
    doing = [_words(job) for job in running.values() if job.stage not in away]
    gpus = int(device_here(run) == "cuda")
    names = list(gpu_names()) if gpus else []
    return _Place("process", socket.gethostname(), run.workers + 1, gpus, names, versions(), doing, 0, "")


def _cluster(session: Session, running: dict[int, JobView]) -> list[_Place]:
    from daemon.executors.chosen import need_distributed

    need_distributed()
    from daemon.executors.cluster import Cluster, workspace_name
    from daemon.executors.remote import job_of

    run, mine = session.settings.run, workspace_name(session.workspace.places)
    try:
        cluster = Cluster(run.scheduler, run.device == "cuda")
        try:
            workers, tasks = cluster.workers(), cluster.doing()
        finally:
            cluster.close()
    except (
        OSError
    ) as e:  # also of what distributed has for it: a scheduler that ends at this moment, or answers nothing
        how = "start `alscope cluster`" if run.slurm.workers else "start it"
        why = "it answers nothing" if isinstance(e, TimeoutError) else str(e)
        words = f"no scheduler can be reached ({why}); {how}, or correct run.address"
        raise NotRunningError(f"{run.scheduler}: {words}") from None
    places = []
    for worker in workers:
        names = [str(name) for name in tasks.get(worker.address, [])]
        ours = [job_of(name) for name in names if name.startswith(f"{mine}-")]
        doing = [_words(running[number]) for number in ours if number in running]
        others = len(names) - len(ours)
        versions = dict(worker.versions)
        places.append(
            _Place(
                worker.address,
                worker.host,
                worker.slots,
                worker.gpus,
                list(worker.gpu_names),
                versions,
                doing,
                others,
                worker.trouble,
            )
        )
    return places
