"""The text of systemd units: one service for the machine, one for each microscope, one for a user. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MARK = (
    "# Written by `alscope service install`; own changes belong into a drop-in (`systemctl edit`), which outlives it."
)

_UNIT = """[Unit]
Description={description}
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.service.html
After={after}

[Service]
Type=notify
NotifyAccess=main
{user}ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
# a sign of life comes every 10 s, and only while the scan, the watcher, the workers and the database are alive
WatchdogSec=120
# a large database may have to be checked, or brought up to date
TimeoutStartSec=15min
# a training that is just writing its checkpoint asks for more
TimeoutStopSec=90
KillMode=mixed
Restart=on-failure
RestartSec=10
# the workspace cannot be used, another daemon holds it, config.toml is wrong: starting again helps nobody
RestartPreventExitStatus=73 75 78
UMask=0027
CacheDirectory={cache}
Environment="NUMBA_CACHE_DIR=%C/{cache}/numba" "MPLCONFIGDIR=%C/{cache}/matplotlib"

# the acquisition always comes first
Nice=10
CPUSchedulingPolicy=batch
IOSchedulingClass=idle
CPUWeight=20
IOWeight=20
MemoryHigh=80%
OOMPolicy=continue

# files from a watched folder come from anywhere
NoNewPrivileges=yes
{hardening}
[Install]
WantedBy={wanted_by}
"""
_FOR_A_USER = """LockPersonality=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
"""
"""What needs no rights: a user's own systemd cannot give a service another view of the files."""
_FOR_THE_MACHINE = """ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={writable}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
CapabilityBoundingSet=
KeyringMode=private
# the devices of NVIDIA GPUs, and no others; MemoryDenyWriteExecute would stop numba
PrivateDevices=no
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
"""


@dataclass(frozen=True)
class Unit:
    """command: program and arguments. config: the file; "%i" in it stands for the name of the instance of a template. writable: the
    folders that the service may write to. user: who runs it, "" for a user's own unit."""

    description: str
    command: Sequence[str]
    writable: Sequence[str]
    user: str
    cache: str = "alscope"
    mark: str = MARK

    def text(self) -> str:
        """The file."""
        hardening = _FOR_A_USER
        if self.user:
            hardening += _FOR_THE_MACHINE.format(writable=" ".join(quoted(path) for path in self.writable))
        body = _UNIT.format(
            description=self.description.replace("%", "%%") if "%i" not in self.description else self.description,
            after="local-fs.target remote-fs.target" if self.user else "basic.target",
            user=f"User={self.user}\n" if self.user else "",
            command=" ".join(quoted(word, True) for word in self.command),
            cache=self.cache,
            hardening=hardening,
            wanted_by="multi-user.target" if self.user else "default.target",
        )
        return f"{self.mark}\n{body}"


def quoted(word: str, variables: bool = False) -> str:
    """A word as systemd reads it back; "%i" stays what it is. variables: of a command line, where $ stands for one."""
    word = word.replace("\\", "\\\\").replace('"', '\\"')
    word = "%i".join(part.replace("%", "%%") for part in word.split("%i"))
    if variables:
        word = word.replace("$", "$$")
    return f'"{word}"' if set(word) & set(" \t'\"\\;") else word


PROGRAM = "/opt/alscope/.venv/bin/alscope"
HOME = "/var/lib/alscope"
_BY_HAND = "# As `alscope service install` writes it for one machine, with the usual places; adapt User= and the paths in a drop-in."


def shipped() -> dict[str, str]:
    """The units in systemd/ by name of file, for those who install by hand."""
    run = ("--config", f"{HOME}/%i/config.toml", "run")
    one = Unit(
        "alscope active learning",
        (PROGRAM, "--config", f"{HOME}/config.toml", "run"),
        (HOME,),
        "alscope",
        mark=_BY_HAND,
    )
    many = Unit("alscope active learning for %i", (PROGRAM, *run), (f"{HOME}/%i",), "alscope", "alscope-%i", _BY_HAND)
    own = Unit(
        "alscope active learning",
        ("%h/alscope/.venv/bin/alscope", "--config", "%h/alscope/config.toml", "run"),
        (),
        "",
        mark=_BY_HAND,
    )
    user = own.text().replace("%%h", "%h")
    return {"alscope.service": one.text(), "alscope@.service": many.text(), "user/alscope.service": user}


_CLUSTER = """{mark}
[Unit]
Description={description}
Documentation=https://distributed.dask.org
After=network-online.target remote-fs.target
Wants=network-online.target

[Service]
{environment}ExecStart={command}
User=alscope
Restart=always
RestartSec=10
KillMode=mixed
TimeoutStopSec=30
UMask=0027
NoNewPrivileges=yes
{hardening}
[Install]
WantedBy=multi-user.target
"""
DASK = "/opt/alscope/.venv/bin/dask"
SCHEDULER = "tcp://10.0.0.5:8786"
_CLUSTER_MARK = "# For a cluster, see docs/cluster.md; adapt the address, User= and the paths in a drop-in."


def for_a_cluster() -> dict[str, str]:
    """The units in systemd/ for the hosts of a cluster, by name of file: one scheduler; a worker for each GPU, numbered from 0."""
    worker = (
        DASK,
        "worker",
        SCHEDULER,
        "--nthreads",
        "2",
        "--no-nanny",
        "--resources",
        "GPU=1",
        "--death-timeout",
        "60",
    )
    parts = {
        "alscope-scheduler.service": (
            "scheduler of the cluster for alscope",
            (DASK, "scheduler", "--host", urlsplit(SCHEDULER).hostname or "", "--no-dashboard"),
            "",
        ),
        "alscope-cluster.service": (
            "scheduler for alscope, and workers that SLURM starts",
            (PROGRAM, "cluster", "--config", f"{HOME}/config.toml"),
            "RestartPreventExitStatus=78\n",
        ),
        "alscope-worker@.service": (
            "worker for alscope on GPU %i",
            (*worker, "--no-dashboard", "--local-directory", "%T"),
            "Environment=CUDA_VISIBLE_DEVICES=%i\n",
        ),
    }
    return {
        name: _CLUSTER.format(
            mark=_CLUSTER_MARK,
            description=description,
            environment=environment,
            command=" ".join(command),
            hardening=_FOR_A_USER,
        )
        for name, (description, command, environment) in parts.items()
    }
