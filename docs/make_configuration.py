"""Writes docs/configuration.md from the models that check config.toml and from the template that explains it: `make docs`.

`--check` writes nothing; it ends with 1, and says where, when the file is not as it would be written now.
"""

from __future__ import annotations

import difflib
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.cli.init import template
from daemon.config import Settings

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

<!-- Written by `make docs` from the code. Change the template (daemon/config_template.toml) or the models, not this file. -->

Everything is in one file, `config.toml`, which `alscope init` writes with every key and its explanation. It is found by `--config`, then
`$ALSCOPE_CONFIG`, then in the current folder. Most people set `watch.folder` and nothing else; the next keys that are worth a look are
`watch.voxel_um`, `patch.shape_px`, `training.instances`, `alarms.command` and `run.device`. At its top the file says:

> {preface}

A key that does not exist, a value of the wrong kind, or one out of its limits is refused in one line that names the key, with exit code 78.
`alscope doctor` checks the file without starting anything.
"""
UNITS = {
    "s": "seconds",
    "min": "minutes",
    "minutes": "minutes",
    "h": "hours",
    "hour": "",
    "days": "days",
    "px": "voxels",
    "um": "um",
    "um3": "um3",
    "gb": "GB",
    "voxels": "voxels",
    "patches": "patches",
    "share": "share of 1",
}
"""What the last part of a key's name says of its unit."""
NAMED_UNITS = {
    "encoder.image_px": "pixels",
    "selection.minutes_base": "minutes",
    "selection.minutes_per_object": "minutes",
    "selection.queue_depth": "patches",
    "selection.initial_seeds": "patches",
    "training.every": "labels",
}
"""Units of keys whose names do not end in one."""
CHECKED = {
    "watch.voxel_um": "each above 0",
    "watch.marker": "a name beside the acquisition, with {name} or {stem}",
    "patch.shape_px": "each 1 or more",
    "encoder.pretrained": "a file must exist",
    "training.schedule": 'times of day, "HH:MM"',
    "training.window": '"HH:MM-HH:MM"',
    "annotation.margin_px": "each 0 or more",
    "annotation.model": "a name that is known, or a file that exists",
    "alarms.command": "a list of words; {message} and {kind} are filled in",
    "alarms.webhook": "https://..., http://... or $ALSCOPE_WEBHOOK",
    "metrics.address": "an IP address of this machine",
    "run.address": '"tcp://host:port"',
    "run.stages": "by names of stages",
    "run.slurm.partition": "",
    "run.slurm.account": "",
    "run.slurm.gres": "",
    "run.slurm.python": "",
    "run.slurm.options": "each one line",
    "run.slurm.before": "each one line",
}
"""Limits that the models check in words of their own. A checked key that is not here stops this script."""
RULES = {
    "": "watched folders and the workspace lie apart from each other",
    "run": "`slurm.least` is not above `slurm.workers`; with "
    '`executor = "dask"`, or a stage that has it, `address` or `slurm.workers` is set and `device` is not `"auto"`; '
    "without, `address`, `slurm.workers` and `long_jobs` are not set",
    "training": "`gate_max_patches` is not below `gate_min_patches`",
}
"""The same for what the models check of several keys of a table at once."""
BOUNDS = (("ge", "{} or more"), ("gt", "above {}"), ("le", "at most {}"), ("lt", "below {}"))


@dataclass(frozen=True)
class Group:
    """Keys of a table that the template explains together."""

    keys: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of config.toml. name: as in its brackets, "" for what stands above all tables; opening: what is said of it as a whole."""

    name: str
    repeats: bool
    opening: tuple[str, ...]
    groups: tuple[Group, ...]


def tables(text: str) -> Iterator[Table]:
    """The tables of the template in their order."""
    name, repeats, opening = "", False, ()
    groups: list[Group] = []
    words: list[str] = []
    keys: list[str] = []
    for line in [*text.splitlines(), "[end]"]:
        key = re.match(r"(?:# )?([a-z_0-9]+) = ", line)
        header = re.fullmatch(r"(\[+)([a-z_.]+)\]+", line)
        if keys and not key:
            groups.append(Group(tuple(keys), tuple(words)))
            keys, words = [], []
        if header:
            yield Table(name, repeats, opening, tuple(groups))
            name, repeats, opening = header[2], len(header[1]) == 2, tuple(words)
            groups, words = [], []
        elif key:
            keys.append(key[1])
        elif line.startswith("#"):
            words.append(line.removeprefix("#").strip())
        elif not name and not groups:
            words = []  # what the file says of itself, see `preface`


def preface(text: str) -> str:
    """What the template says of itself, in its first comment."""
    return " ".join(line.removeprefix("#").strip() for line in text.split("\n\n")[0].splitlines())


def page() -> str:
    """The whole page. Raises LookupError for a key that the template or this script does not explain."""
    text = template()
    parts, explained = [HEAD.replace("{preface}", preface(text))], set()
    for table in tables(text):
        model = model_of(table.name)
        title = f"[[{table.name}]]" if table.repeats else f"[{table.name}]" if table.name else "Above all tables"
        parts.append(f"\n## {title}\n")
        checked = checked_keys(model)
        parts += [f"\n{' '.join(table.opening)}\n"] if table.opening else []
        if model.__pydantic_decorators__.model_validators:
            if table.name not in RULES:
                raise LookupError(f"[{table.name}] is checked as a whole: say how in RULES of {Path(__file__).name}")
            parts.append(f"\nChecked as a whole: {RULES[table.name]}.\n")
        for group in table.groups:
            parts.append("\n")
            for key in group.keys:
                where = f"{table.name}.{key}" if table.name else key
                if key not in model.model_fields:
                    raise LookupError(f"{where}: the template names a key that does not exist")
                if key in checked and where not in CHECKED:
                    raise LookupError(f"{where} is checked in the models: say how in CHECKED of {Path(__file__).name}")
                parts.append(line_of(where, model.model_fields[key]))
                explained.add(where)
            parts.append("".join(f"\n  {line}" for line in paragraph(group.words)) + "\n")
    missing = sorted(all_keys(Settings) - explained)
    if missing:
        raise LookupError(f"daemon/config_template.toml does not explain {', '.join(missing)}")
    return "".join(parts)


def paragraph(words: tuple[str, ...]) -> list[str]:
    """Lines of prose; a key without words of its own is explained above."""
    return [escaped(line) for line in words] or ["As above."]


def escaped(text: str) -> str:
    """Words that markdown would take for markup, left as they are: <...>, and stars of file patterns."""
    return re.sub(r"(?<!`)<([a-z]+)>(?!`)", r"`<\1>`", text).replace("*", r"\*")


def line_of(where: str, field: FieldInfo) -> str:
    """One key: its name, what it takes, unit, limits, default."""
    unit = NAMED_UNITS.get(where, UNITS.get(where.rpartition("_")[2] if "_" in where else "", ""))
    facts = [kind(field.annotation), unit, *limits(field), CHECKED.get(where, "")]
    facts = [fact for fact in facts if fact]
    return f"- **`{where}`**: {', '.join(facts)}. {default(field)}\n"


def kind(annotation: Any) -> str:
    """What a value has to be, in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return chosen([f'`"{value}"`' for value in inside])
    if origin in (Union, types.UnionType):
        return " or ".join(kind(a) for a in inside if a is not type(None))
    if origin is tuple:
        one = kind(inside[0])
        if one.startswith("one of"):
            return f"list of any of {one.removeprefix('one of ')}"
        return f"list of {plural(one)}" if Ellipsis in inside else f"{NUMBERS[len(inside)]} {plural(one)}"
    if origin is dict:
        return "table of options"
    return NAMES[annotation]


NUMBERS = {2: "two", 3: "three"}
NAMES: dict[Any, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "folder",
    PosixPath: "folder",
}


def chosen(values: list[str]) -> str:
    """ "`a`", "`a` or `b`", "one of `a`, `b`, `c`"."""
    return " or ".join(values) if len(values) < 3 else f"one of {', '.join(values)}"


def plural(words: str) -> str:
    """ "whole number or text" -> "whole numbers or texts"."""
    return " or ".join(f"{word}s" for word in words.split(" or "))


def limits(field: FieldInfo) -> list[str]:
    """The bounds of a number."""
    found = []
    for name, words in BOUNDS:
        found += [
            words.format(value if isinstance(value, int) else f"{value:g}")
            for m in field.metadata
            if (value := getattr(m, name, None)) is not None
        ]
    return found


def default(field: FieldInfo) -> str:
    """What counts where the key is not set."""
    if field.is_required():
        return "Must be set."
    value = field.get_default(call_default_factory=True)
    return "Not set by default." if value is None else f"Default `{toml(value)}`."


def toml(value: Any) -> str:
    """A value as one would write it into config.toml."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, Path)):
        return f'"{value}"'
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return "{}" if value == {} else str(value)


def model_of(name: str) -> type[BaseModel]:
    """The model of a table, "" for the whole. Raises LookupError."""
    model: type[BaseModel] = Settings
    for part in filter(None, name.split(".")):
        below = section(model.model_fields[part]) if part in model.model_fields else None
        if below is None:
            raise LookupError(f"[{name}]: the template names a table that does not exist")
        model = below
    return model


def section(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a key that is a table, or a list of tables."""
    for found in (field.annotation, *get_args(field.annotation)):
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None


def all_keys(model: type[BaseModel], where: str = "") -> set[str]:
    """Every key that has a value."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        below = section(field)
        found |= all_keys(below, f"{where}{name}.") if below else {where + name}
    return found


def checked_keys(model: type[BaseModel]) -> set[str]:
    """Keys whose values are checked by more than type and bounds."""
    return {name for v in model.__pydantic_decorators__.field_validators.values() for name in v.info.fields}


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with what is there."""
    made = page()
    if "--check" not in arguments:
        TARGET.write_text(made, encoding="utf-8")
        return 0
    there = TARGET.read_text(encoding="utf-8") if TARGET.is_file() else ""
    changes = difflib.unified_diff(
        there.splitlines(), made.splitlines(), str(TARGET.name), "as the code has it", lineterm="", n=0
    )
    told = "\n".join(changes)
    if told:
        sys.stderr.write(
            f"{told}\n{TARGET.relative_to(ROOT)} is not as the code has it: run `make docs` and commit it\n"
        )
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
