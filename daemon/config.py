"""config.toml -> validated settings. An unknown key, a wrong type or an impossible value is one line that names the key."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator, model_validator

from daemon.config_alarms import Alarms
from daemon.config_annotation import Annotation
from daemon.config_cluster import PORT, Slurm, check_cluster, scheduler_address, stages_by_name
from daemon.config_disk import Disk
from daemon.config_file import DEFAULT_WORKSPACE, read_toml
from daemon.config_metrics import Metrics
from daemon.config_selection import Encoder, Section, Selection, is_path
from daemon.config_training import Training
from daemon.errors import ConfigError
from daemon.nearest import nearest
from daemon.secrecy import exposed, is_secret

SECRET_KEYS = ("alarms.webhook",)
"""Whose values no message repeats."""
ACQUISITIONS = (
    *("*.tif", "*.tiff", "*.btf", "*.tf8", "*.zarr", "*.h5", "*.hdf5", "*.mrc", "*.mrcs", "*.st", "*.rec"),
    *("*.nd2", "*.czi", "*.lif"),
)
"""Names of acquisitions, unless config.toml says otherwise."""


class Watch(Section):
    """One watched acquisition folder."""

    folder: Path
    include: tuple[str, ...] = ACQUISITIONS
    exclude: tuple[str, ...] = ()
    settle_s: float = Field(default=10.0, ge=0)
    voxel_um: tuple[float, float, float] | None = None
    axes: str | None = None
    channels: tuple[int | str, ...] | None = None
    channels_together: bool = False
    rgb: Literal["luminance", "channels", "refuse"] = "luminance"
    slices: tuple[str, ...] = ()
    marker: str | None = None
    dataset: str | None = None
    sparse: bool = False

    @field_validator("voxel_um")
    @classmethod
    def _voxel_positive(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and not all(0 < v < math.inf for v in value):
            raise ValueError("must be three positive numbers (z, y, x) in um")
        return value

    @field_validator("marker")
    @classmethod
    def _marker_names_the_acquisition(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            said = {value.format(name=n, stem=n) for n in ("a", "b")}
        except (KeyError, ValueError, IndexError, AttributeError):
            said = set()
        if len(said) != 2 or value.startswith("/") or ".." in value.split("/"):
            raise ValueError('must name a file beside the acquisition, with {name} or {stem}, such as "{stem}.done"')
        return value

    def read_options(self) -> dict[str, Any]:
        """Options for the volume reader: only those that were set, so that keys of artifacts stay stable."""
        options: dict[str, Any] = {}
        if self.axes is not None:
            options["axes"] = self.axes
        if self.channels is not None:
            options["channels"] = list(self.channels)
        if self.channels_together:
            options["together"] = True
        if self.rgb != "luminance":
            options["rgb"] = self.rgb
        if self.dataset is not None:
            options["dataset"] = self.dataset
        if self.sparse:
            options["sparse"] = True
        return options


class Patch(Section):
    """How volumes are cut."""

    shape_px: tuple[int, int, int] = (32, 256, 256)

    @field_validator("shape_px")
    @classmethod
    def _shape_positive(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(value) < 1:
            raise ValueError("must be three positive whole numbers (z, y, x) in voxels")
        return value


class Pseudo(Section):
    """The pseudo-labeller. weights: a folder with weights of models made elsewhere, "" = the default places."""

    backend: Literal["auto", "threshold", "micro_sam", "cellsam"] = "threshold"
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str = ""

    def options_of(self, backend: str) -> dict[str, Any]:
        """The options that a backend gets: those that were set for it, and the folder of weights where it needs any."""
        needs_weights = backend in ("micro_sam", "cellsam")
        options = dict(self.options) if self.backend == backend or (self.backend == "auto" and needs_weights) else {}
        if needs_weights and self.weights:
            options.setdefault("weights_folder", self.weights)
        return options


class Prediction(Section):
    """Segmentation of every volume with the promoted model."""

    min_object_voxels: int = Field(default=0, ge=0)
    min_object_um3: float = Field(default=0.0, ge=0)
    policy: Literal["always", "new", "manual"] = "always"
    zarr_above_gb: float = Field(default=4.0, ge=0)
    uncertainty: bool = False
    keep_models: int = Field(default=2, ge=1)
    keep_days: float = Field(default=14.0, ge=0)


class Inbox(Section):
    """The folder into which labels are saved."""

    settle_s: float = Field(default=2.0, ge=0)
    max_gb: float = Field(default=4.0, gt=0)


class Run(Section):
    """The machine, or the cluster."""

    executor: Literal["process", "dask"] = "process"
    stages: dict[str, Literal["process", "dask"]] = Field(default_factory=dict)
    address: str = ""
    slurm: Slurm = Slurm()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = Field(default=1, ge=1, le=64)
    threads: int = Field(default=0, ge=0)
    nice: int = Field(default=10, ge=0, le=19)
    yield_to_acquisition: Literal["growing", "arriving", "off"] = "growing"
    yield_at_most_min: float = Field(default=30.0, gt=0)
    rescan_s: float = Field(default=30.0, gt=0)
    backlog: Literal["newest", "oldest"] = "newest"
    ram_gb: float = Field(default=4.0, ge=0.5)
    min_free_gb: float = Field(default=2.0, ge=0)
    max_volume_gb: float = Field(default=500.0, gt=0)
    keep_backups: int = Field(default=7, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)

    long_jobs: int = Field(default=0, ge=0)

    @field_validator("stages")
    @classmethod
    def _stages_that_exist(cls, value: dict[str, str]) -> dict[str, str]:
        return stages_by_name(value)

    @field_validator("address")
    @classmethod
    def _address_of_a_scheduler(cls, value: str) -> str:
        return scheduler_address(value)

    @model_validator(mode="after")
    def _cluster_is_said(self) -> Run:
        check_cluster(self.executor, self.stages, self.address, self.device, self.slurm, self.long_jobs)
        return self

    @property
    def scheduler(self) -> str:
        """Address of the scheduler; the one of `alscope cluster` is on this machine unless it is said."""
        return self.address or f"tcp://{socket.gethostname()}:{PORT}"


class Settings(Section):
    """Everything config.toml may say."""

    workspace: Path = Path(DEFAULT_WORKSPACE)
    watch: tuple[Watch, ...]
    patch: Patch = Patch()
    pseudo: Pseudo = Pseudo()
    encoder: Encoder = Encoder()
    selection: Selection = Selection()
    training: Training = Training()
    prediction: Prediction = Prediction()
    annotation: Annotation = Annotation()
    inbox: Inbox = Inbox()
    alarms: Alarms = Alarms()
    metrics: Metrics = Metrics()
    disk: Disk = Disk()
    run: Run = Run()
    _file: Path | None = PrivateAttr(default=None)

    @field_validator("watch")
    @classmethod
    def _some_watch(cls, value: tuple[Watch, ...]) -> tuple[Watch, ...]:
        if not value:
            raise ValueError("names no folder: add a [[watch]] table with `folder = ...`")
        return value

    @model_validator(mode="after")
    def _folders_apart(self) -> Settings:
        workspace = self.workspace.resolve()
        seen: list[Path] = []
        for watch in self.watch:
            folder = watch.folder.resolve()
            if folder == workspace or folder.is_relative_to(workspace):
                raise ValueError(f"watch.folder {folder} lies inside the workspace {workspace}; keep them apart")
            if workspace.is_relative_to(folder):
                raise ValueError(f"workspace {workspace} lies inside the watched folder {folder}; keep them apart")
            if any(folder == s or folder.is_relative_to(s) or s.is_relative_to(folder) for s in seen):
                raise ValueError(f"watch.folder {folder} lies in another watched folder; each file must have one owner")
            seen.append(folder)
        return self

    @property
    def file(self) -> Path | None:
        """The file these settings were read from."""
        return self._file


def load(path: Path) -> Settings:
    """Read and validate a config file; relative folders are relative to the file. Raises ConfigError."""
    raw = read_toml(path)
    settings = from_mapping(raw, path)
    written = raw.get("alarms", {}).get("webhook") == settings.alarms.webhook  # and not in the environment
    if wrong := exposed(path, bool(settings.alarms.command), written and is_secret(settings.alarms.webhook)):
        raise ConfigError(f"{path}: {wrong}")
    return settings


def from_mapping(raw: dict[str, Any], path: Path) -> Settings:
    """Validate already parsed TOML as if it had been read from `path`. Raises ConfigError."""
    base = path.absolute().parent
    try:
        settings = Settings.model_validate(_anchored(raw, base))
    except ValidationError as e:
        raise ConfigError(f"{path}: {_first_problem(e)}") from e
    settings._file = path.absolute()
    return settings


def _anchored(raw: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make `workspace`, `watch.folder`, `pseudo.weights`, `encoder.pretrained` and `annotation.model` absolute; wrong types are
    for validation."""
    out = dict(raw)
    workspace = out.get("workspace", DEFAULT_WORKSPACE)
    if isinstance(workspace, str):
        out["workspace"] = base / Path(workspace).expanduser()
    if isinstance(out.get("watch"), list):
        out["watch"] = [
            {**w, "folder": base / Path(w["folder"]).expanduser()}
            if isinstance(w, dict) and isinstance(w.get("folder"), str)
            else w
            for w in out["watch"]
        ]
    pseudo = out.get("pseudo")
    if isinstance(pseudo, dict) and isinstance(pseudo.get("weights"), str) and pseudo["weights"]:
        out["pseudo"] = {**pseudo, "weights": str(base / Path(pseudo["weights"]).expanduser())}
    encoder = out.get("encoder")
    if isinstance(encoder, dict) and isinstance(encoder.get("pretrained"), str) and is_path(encoder["pretrained"]):
        out["encoder"] = {**encoder, "pretrained": str(base / Path(encoder["pretrained"]).expanduser())}
    annotation = out.get("annotation")
    if isinstance(annotation, dict) and isinstance(annotation.get("model"), str) and "/" in annotation["model"]:
        out["annotation"] = {**annotation, "model": str(base / Path(annotation["model"]).expanduser())}
    return out


def _first_problem(error: ValidationError) -> str:
    problem, *others = error.errors()
    where = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("literal["))
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}; {_meant([str(p) for p in problem['loc'] if isinstance(p, str)])}"
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"key {where!r} is missing"
    if not where:
        return text
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        allowed = re.findall(r"'([^']*)'", str(problem["ctx"]["expected"]))
        near = nearest(problem["input"], allowed)
        text += ", true or false" if others and others[0]["loc"][-1] == "bool" else ""
        text += f"; did you mean {near!r}?" if near else ""
    value = "..." if where in SECRET_KEYS else repr(problem["input"])
    return f"{where} = {value}: {text[0].lower()}{text[1:]}"


def _meant(said: list[str]) -> str:
    """Which key somebody meant: one of the same table, or one of that name or nearly so in another table."""
    table, last = said[:-1], said[-1]
    keys = [key.split(".") for key in keys_of(Settings)]
    beside = {key[-1]: ".".join(key) for key in keys if key[:-1] == table}
    if near := nearest(last, beside):
        return f"did you mean {beside[near]!r}?"
    elsewhere = [".".join(key) for key in keys if key[-1] == nearest(last, {k[-1] for k in keys})]
    if elsewhere:
        return f"did you mean {' or '.join(map(repr, elsewhere))}?"
    return f"known keys here: {', '.join(sorted(beside))}"


def keys_of(model: type[BaseModel], table: str = "") -> Iterator[str]:
    """Every key of config.toml with its table, such as "training.every"; tables are keys, too."""
    for name, field in model.model_fields.items():
        yield f"{table}{name}"
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from keys_of(part, f"{table}{name}.")
