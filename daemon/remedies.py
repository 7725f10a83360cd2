"""How wrong each kind of problem is, and what a person can do about it where the message itself does not say. Pure."""

from __future__ import annotations

ORDER = (
    "daemon",
    "disk",
    "folder",
    "arrivals",
    "watcher",
    "cluster",
    "config",
    "job",
    "label",
    "backup",
    "found",
    "set aside",
    "part of a file set aside",
    "novelty",
    "quality",
    "mixed",
    "alarms",
    "metrics",
    "encoder",
    "retry",
)
"""Kinds of problems, the most wrong first."""

REMEDY = {
    "folder": "mount it, or switch its machine on; if it has moved, correct watch.folder in config.toml",
    "watcher": "`alscope doctor` says how to raise the limit of watched folders",
    "cluster": "start the scheduler or the workers (docs/cluster.md); `alscope workers` shows who is there",
    "config": "`alscope doctor` checks config.toml; `kill -HUP`, or `systemctl reload`, has it read again",
    "set aside": "mend or replace the file: it is read again by itself when it changes",
    "part of a file set aside": "mend or replace the file: it is read again by itself when it changes",
    "novelty": "look at the sample; if it is as it should be, label one of its patches",
    "quality": "look at the sample and at the settings of the microscope",
    "encoder": "nothing: the next attempt is made when the pool has grown",
    "retry": "nothing, unless it goes on for hours: then `alscope jobs show` says more",
}


def rank(kind: str) -> int:
    """0 for the most wrong kind; kinds that are not known come last."""
    return ORDER.index(kind) if kind in ORDER else len(ORDER)
