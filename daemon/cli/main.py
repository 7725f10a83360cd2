"""`alscope`: the group of commands. A command's module is imported when it is called or its own help is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from daemon.cli.groups import Group
from daemon.cli.session import Session, config_option
from daemon.errors import AlscopeError
from daemon.nearest import did_you_mean, nearest
from daemon.wording import clean

COMMANDS = {
    "run": ("daemon.cli.run:run_command", "Watch the folders and do everything; ends on Ctrl-C or SIGTERM."),
    "status": ("daemon.cli.status:status_command", "What runs, what waits for me, what is wrong, how good."),
    "dashboard": ("daemon.cli.dashboard:dashboard_command", "The same, live on the whole screen."),
    "queue": ("daemon.cli.queue:queue_group", "Patches that wait for an expert: list, show, skip, QC."),
    "annotate": ("daemon.cli.annotate:annotate_command", "Draw the next patch in a window, with Segment Anything."),
    "label": ("daemon.cli.label:label_group", "Hand in labels, and see what became of them."),
    "volumes": ("daemon.cli.volumes:volumes_command", "Every file of the watched folders, and how far it is."),
    "jobs": ("daemon.cli.jobs:jobs_group", "Work done and to do: list, show, retry, cancel."),
    "workers": ("daemon.cli.workers:workers_command", "Where jobs run: hosts, GPUs, versions, what each does."),
    "cluster": ("daemon.cli.cluster:cluster_command", "A scheduler, and workers that SLURM starts when jobs wait."),
    "models": ("daemon.cli.models:models_group", "Every trained model, its scores and the verdict; fetch weights."),
    "encoders": ("daemon.cli.encoders:encoders_command", "Every encoder, its self-test, and which one selects."),
    "pseudo": (
        "daemon.cli.pseudo:pseudo_group",
        "How good the pseudo-labels are; compare pseudo-labellers on your labels.",
    ),
    "report": ("daemon.cli.report:report_command", "Write the report: one HTML page, figures, CSV."),
    "train": ("daemon.cli.control:train_command", "Open a training round now."),
    "pause": ("daemon.cli.control:pause_command", "Start no new work for a while."),
    "resume": ("daemon.cli.control:resume_command", "End a pause."),
    "alarms": ("daemon.cli.alarms:alarms_group", "What needed attention, and whether it was told; try the ways out."),
    "expect": ("daemon.cli.alarms:expect_command", "Declare a run: an alarm when no file arrives for too long."),
    "predict": ("daemon.cli.predict:predict_command", "Segment one file with a trained model, outside the loop."),
    "simulate": ("daemon.cli.simulate:simulate_command", "Play the loop on labelled images: does choosing pay here?"),
    "demo": ("daemon.cli.demo:demo_command", "See the whole loop run in minutes, on simulated or your own data."),
    "service": ("daemon.cli.service:service_group", "Keep it running under systemd: install, uninstall, status."),
    "backup": ("daemon.cli.backup:backup_command", "Copy the database; the daemon does so every night."),
    "restore": (
        "daemon.cli.backup:restore_command",
        "Put a backup of the database back, or begin with what is on the disk.",
    ),
    "verify": ("daemon.cli.verify:verify_command", "Is everything on the disk as it was written?"),
    "doctor": ("daemon.cli.doctor:doctor_command", "Check this machine and say how to mend what is wrong."),
    "completion": ("daemon.cli.completion:completion_command", "Let the shell complete commands, options and ids."),
    "init": ("daemon.cli.init:init_command", "Write a commented config.toml and make a workspace."),
}
"""name -> (module:object, short help). The order is that of `alscope --help`."""


class LazyGroup(Group):
    """Imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's module."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands from the table, without importing them, and the options."""
        names = [CompletionItem(n, help=said) for n, (_, said) in COMMANDS.items() if n.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def meant(self, ctx: click.Context, said: str) -> str:
        """As other groups do; a subcommand is recognised, too, where its command was left out."""
        if nearest(said, COMMANDS) is None:
            groups = {name: self.get_command(ctx, name) for name in COMMANDS}
            found = [f"'{name} {said}'" for name, group in groups.items() if said in getattr(group, "commands", ())]
            if found:
                return f"did you mean {' or '.join(found)}?"
        return did_you_mean(said, COMMANDS, "`alscope --help` lists them")


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from alcore import __version__

        click.echo(f"alscope {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@config_option
@click.pass_context
def alscope(ctx: click.Context) -> None:
    """Active learning beside the microscope: drop volumes into a folder, label the few patches that teach most, get
    instance segmentations that improve while the experiment runs.

    \b
    Example, a first session:
      alscope init --watch /data/incoming
      alscope run &
      alscope dashboard
    """
    ctx.ensure_object(Session)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. What goes wrong is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 gets escapes, not a traceback
    try:
        code: Any = alscope.main(list(arguments) if arguments is not None else None, "alscope", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: no complaint at exit
        return 0
    except AlscopeError as e:
        return _one_line(str(e), e.exit_code)
    except OSError as e:
        return _one_line(f"{e.filename or 'system'}: {e.strerror or e}", os.EX_IOERR)


def _one_line(message: str, code: int) -> int:
    sys.stderr.write(f"alscope: {clean(message)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
