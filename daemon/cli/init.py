"""`alscope init`: a commented config.toml, and a workspace."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import click

from daemon.errors import UsageError

TEMPLATE = "config_template.toml"


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option(
    "--watch",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder that volumes come into.",
)
@click.option("--voxel", type=float, nargs=3, metavar="Z Y X", help="Voxel size in um, for files that do not say.")
@click.option("--force", is_flag=True, help="Replace an existing config.toml.")
def init_command(folder: Path, watch: Path, voxel: tuple[float, float, float] | None, force: bool) -> None:
    """Write FOLDER/config.toml with every key commented, and make the workspace. FOLDER is this one if not named.

    \b
    Example:
      alscope init --watch /data/incoming
      alscope init em --watch /data/incoming --voxel 0.05 0.01 0.01
    """
    import tomllib

    from alcore.artifact import write_atomic
    from daemon.cli.output import say
    from daemon.config import from_mapping
    from daemon.wording import short_path
    from daemon.workspace import Workspace

    path = folder.absolute() / "config.toml"
    if path.exists() and not force:
        raise UsageError(f"{short_path(path)}: exists already; use --force to replace it")
    if not watch.is_dir():
        raise UsageError(f"{watch}: no such folder; make it first, or correct --watch")
    text = filled(template(), watch.absolute().resolve(), voxel)
    settings = from_mapping(tomllib.loads(text), path)
    folder.mkdir(parents=True, exist_ok=True)
    Workspace(settings.workspace).make()
    write_atomic(path, text.encode())
    say(f"wrote {short_path(path)} (every key with its default; adapt it as you like)")
    say(f"made {short_path(settings.workspace)}; watching {settings.watch[0].folder}")
    where = "" if path.parent == Path.cwd() else f" --config {short_path(path)}"
    say(f"next: `alscope{where} doctor`, then `alscope{where} run`")


def template() -> str:
    """The commented configuration that ships with alscope."""
    return files("daemon").joinpath(TEMPLATE).read_text(encoding="utf-8")


def filled(text: str, watch: Path, voxel: tuple[float, float, float] | None) -> str:
    """The template with the answers filled in. Raises UsageError for a path that TOML cannot hold."""
    text = re.sub(r"^folder = .*$", lambda _: f"folder = {_toml(str(watch))}", text, count=1, flags=re.MULTILINE)
    if voxel is not None:
        numbers = ", ".join(f"{v:g}" if v != int(v) else f"{v:.1f}" for v in voxel)
        text = re.sub(r"^# voxel_um = .*$", f"voxel_um = [{numbers}]", text, count=1, flags=re.MULTILINE)
    return text


def _toml(value: str) -> str:
    """A TOML string."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{value!r}: the folder's name is not UTF-8, which config.toml must be; rename it or link to it"
        ) from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
