"""Where config.toml is and which workspace it names, without validating it: for commands that only read and must be quick."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from daemon.errors import ConfigError

DEFAULT_WORKSPACE = "workspace"
MOST_BYTES = 1 << 20


def find_config(option: Path | None) -> Path:
    """--config, then $ALSCOPE_CONFIG, then ./config.toml. Raises ConfigError when there is none."""
    named = option or (Path(os.environ["ALSCOPE_CONFIG"]) if os.environ.get("ALSCOPE_CONFIG") else None)
    path = named or Path("config.toml")
    if not path.is_file():
        hint = "" if named else "; make one with `alscope init`, or name one with --config or $ALSCOPE_CONFIG"
        raise ConfigError(f"{path}: no such configuration file{hint}")
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content, not validated. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: larger than {MOST_BYTES >> 20} MB, which no configuration is")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read ({e.strerror})") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: not valid TOML: {e}") from e
    except RecursionError as e:
        raise ConfigError(f"{path}: not a configuration: lists in lists without end") from e


def workspace_of(path: Path) -> Path:
    """The workspace folder that a config file names, relative to the file. Raises ConfigError."""
    named = read_toml(path).get("workspace", DEFAULT_WORKSPACE)
    if not isinstance(named, str):
        raise ConfigError(f"{path}: workspace = {named!r}: must be the path of a folder")
    return path.absolute().parent / Path(named).expanduser()
