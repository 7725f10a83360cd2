"""What every command knows: which config.toml, which workspace, and how to look at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from daemon.config_file import find_config, workspace_of
from daemon.workspace import Workspace

if TYPE_CHECKING:
    from daemon.config import Settings
    from daemon.store.views import Snapshot

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One call of `alscope`. Everything is found when it is first asked for."""

    def __init__(self) -> None:
        self.option: Path | None = None

    @cached_property
    def config(self) -> Path:
        """The config file in use. Raises ConfigError."""
        return find_config(self.option)

    @cached_property
    def settings(self) -> Settings:
        """The whole configuration, validated (a third of a second). Raises ConfigError."""
        from daemon.config import load

        return load(self.config)

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace, found without validating the rest of the configuration. Raises ConfigError."""
        return Workspace(workspace_of(self.config))

    def look(self) -> Snapshot:
        """What people see now. Raises WorkspaceError."""
        from daemon.look import look

        return look(self.workspace.root, time.time())


pass_session = click.make_pass_decorator(Session, ensure=True)


def config_option(function: F) -> F:
    """`--config`, before or after the name of the command."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.ensure_object(Session).option = value

    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        callback=keep,
        expose_value=False,
        help="The config file [default: $ALSCOPE_CONFIG, then ./config.toml].",
    )(function)


def json_option(function: F) -> F:
    """`--json`: data for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)
