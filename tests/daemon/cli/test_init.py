"""init and the template: every key is there, what it says are the defaults are the defaults, and the result loads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from daemon.cli.init import template
from daemon.cli.main import main
from daemon.config import Settings, Watch, load

ROOT = Path(__file__).resolve().parents[3]


def uncommented() -> dict[str, Any]:
    """The template with every commented key made real."""
    return tomllib.loads(re.sub(r"^# (?=[a-z_0-9]+ = )", "", template(), flags=re.MULTILINE))


def model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    annotation = model.model_fields[name].annotation
    for found in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None


def compare(raw: dict[str, Any], model: type[BaseModel], where: str = "") -> list[str]:
    """What of the template is not as the model says."""
    wrong = [f"{where}{name}: not in the template" for name in model.model_fields.keys() - raw.keys()]
    wrong += [f"{where}{name}: no such key" for name in raw.keys() - model.model_fields.keys()]
    for name in raw.keys() & model.model_fields.keys():
        below = model_of(model, name)
        if below is not None:
            value = raw[name][0] if below is Watch else raw[name]
            wrong += compare(value, below, f"{where}{name}.")
            continue
        field = model.model_fields[name]
        if field.is_required() or field.get_default(call_default_factory=True) is None:
            continue
        said = raw[name]
        default = field.get_default(call_default_factory=True)
        true = list(default) if isinstance(default, tuple) else str(default) if isinstance(default, Path) else default
        if said != true or isinstance(said, bool) != isinstance(true, bool):
            wrong.append(f"{where}{name} = {said!r} in the template, {true!r} in truth")
    return wrong


def test_the_template_holds_every_key_with_its_true_default():
    assert compare(uncommented(), Settings) == []


def test_every_key_of_the_template_is_explained():
    for paragraph in template().split("\n\n"):
        keys = re.findall(r"^(?:# )?([a-z_0-9]+) = ", paragraph, re.MULTILINE)
        words = [line for line in paragraph.splitlines() if re.match(r"# (?![a-z_0-9]+ = )", line)]
        schedule = paragraph.startswith("[training.finetune_schedule]")  # explained with the one above it
        assert not keys or words or schedule or keys == ["folder"], paragraph


def test_optional_keys_are_said_not_to_be_set():
    for name in ("voxel_um", "axes", "channels"):
        assert re.search(rf"not set[^\n]*\n# {name} = ", template())


def test_the_repositorys_own_configuration_is_the_template():
    assert (ROOT / "config.toml").read_text() == template()
    assert load(ROOT / "config.toml").run.device == "auto"


def test_init_makes_what_run_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    incoming = tmp_path / 'in "quoted" \\ back # ü'
    incoming.mkdir()
    assert main(["init", "em", "--watch", str(incoming), "--voxel", "0.05", "0.01", "1"]) == 0
    settings = load(tmp_path / "em" / "config.toml")
    assert settings.watch[0].folder == incoming
    assert settings.watch[0].voxel_um == (0.05, 0.01, 1.0)
    assert (settings.workspace / "inbox").is_dir()
    assert "alscope --config em/config.toml run" in capsys.readouterr().out
    assert main(["init", "em", "--watch", str(incoming)]) == 64
    assert "--force" in capsys.readouterr().err
    assert main(["init", "em", "--watch", str(incoming), "--force"]) == 0
    assert load(tmp_path / "em" / "config.toml").watch[0].voxel_um is None


def test_init_is_found_by_the_next_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    assert main(["init", "--watch", "in"]) == 0
    assert main(["status"]) == 0
    assert "not started yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--watch", "nowhere"], 64),
        (["--watch", "."], 78),  # the workspace would lie in the watched folder
        (["--watch", "in", "--voxel", "0", "1", "1"], 78),
        (["--watch", "in", "--voxel", "1", "1"], 2),
        ([], 64),  # nobody to ask
        (["--modality", "em"], 64),
        (["--watch", "in", "--gpu", "maybe"], 2),
        (["--watch", "in", "--voxel", "nan", "1", "1"], 78),
    ],
)
def test_init_refuses_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    assert main(["init", *arguments]) == code
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_folder_that_toml_cannot_name(tmp_path, capsys):
    odd = tmp_path / "in\udcff"
    odd.mkdir()
    assert main(["init", str(tmp_path / "em"), "--watch", str(odd)]) == 64
    assert "UTF-8" in capsys.readouterr().err
