"""Check of `alscope doctor`: can the cluster be reached, and can its workers work for this daemon?"""

from __future__ import annotations

from alcore.errors import install_line
from daemon.cli.checking import Check
from daemon.config import Settings
from daemon.errors import ConfigError
from daemon.executors.chosen import need_distributed


def cluster(settings: Settings) -> Check:
    """Its scheduler, and who works there."""
    run = settings.run
    try:
        need_distributed()
        if run.slurm.workers:
            need_distributed("dask_jobqueue")
    except ConfigError:
        return Check("cluster", "fail", "the extra `cluster` is not installed", install_line("cluster"))
    from daemon.executors.cluster import Cluster
    from daemon.executors.perform import one_line

    ours = "start `alscope cluster`" if run.slurm.workers else "start the scheduler, or correct run.address"
    try:
        found = Cluster(run.scheduler, run.device == "cuda")
        try:
            workers = found.workers()
        finally:
            found.close()
    except OSError as e:
        why = f"no scheduler can be reached at {run.scheduler} ({one_line(e)}); jobs wait"
        return Check("cluster", "fail", why, f"{ours} (docs/cluster.md)")
    wrong = [f"{worker.host}: {worker.trouble}" for worker in workers if worker.trouble]
    good = f"{len(workers) - len(wrong)} workers at {run.scheduler}"
    if wrong:
        state = "warn" if len(wrong) < len(workers) else "fail"
        return Check("cluster", state, f"{good}; not used: {'; '.join(wrong)}", "see docs/cluster.md")
    if not workers and not run.slurm.workers:
        return Check("cluster", "warn", f"{good}: jobs wait until there is one", "start one (docs/cluster.md)")
    return Check("cluster", "ok", good)
