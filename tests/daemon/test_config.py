"""config.toml: what is wrong is said in one line that names the key."""

from pathlib import Path

import pytest

from daemon.config import load
from daemon.config_file import find_config
from daemon.errors import ConfigError

WATCH = '[[watch]]\nfolder = "in"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key 'watch' is missing"),
        ("watch = []", "names no folder"),
        (WATCH + "setle_s = 3", "unknown key 'watch.0.setle_s'; did you mean 'settle_s'?"),
        (WATCH + "[training]\nplam = 'tiny'", "unknown key 'training.plam'; did you mean 'plan'?"),
        (WATCH + "[training.finetune_schedule]\nepoch = 3", "did you mean 'epochs'?"),
        (WATCH + "[run]\nworkers = 'two'", "run.workers = 'two': input should be a valid integer"),
        (WATCH + "[run]\nworkers = 0", "run.workers = 0"),
        (WATCH + "voxel_um = [0, 1, 1]", "three positive numbers"),
        (WATCH + "[patch]\nshape_px = [0, 8, 8]", "patch.shape_px"),
        ("workspace = 3\n" + WATCH, "workspace = 3"),
        ('workspace = "in/ws"\n' + WATCH, "inside the watched folder"),
        ('workspace = "ws"\n[[watch]]\nfolder = "ws/in"', "inside the workspace"),
        (WATCH + '[[watch]]\nfolder = "in/deeper"', "in another watched folder"),
        ("a = [", "not valid TOML"),
        (WATCH + "[training]\ngate_share = 1.5", "training.gate_share"),
    ],
)
def test_bad_input_is_one_line_with_the_key(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as e:
        load(path)
    assert says in str(e.value)
    assert str(e.value).startswith(f"{path}: ")
    assert "\n" not in str(e.value)


def test_folders_are_relative_to_the_file(tmp_path, monkeypatch):
    path = write(tmp_path, WATCH)
    monkeypatch.chdir("/")
    settings = load(path)
    assert settings.watch[0].folder == tmp_path / "in"
    assert settings.workspace == tmp_path / "workspace"


def test_find_config_prefers_option_then_environment_then_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALSCOPE_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="alscope init"):
        find_config(None)
    here = write(tmp_path, WATCH)
    other = tmp_path / "other.toml"
    other.write_text(WATCH)
    assert find_config(None).resolve() == here
    monkeypatch.setenv("ALSCOPE_CONFIG", str(other))
    assert find_config(None) == other
    assert find_config(here) == here
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such configuration file$"):
        find_config(tmp_path / "nowhere.toml")


def test_only_options_that_were_set_reach_the_reader(tmp_path):
    settings = load(write(tmp_path, WATCH))
    assert settings.watch[0].read_options() == {}
    settings = load(write(tmp_path, WATCH + 'axes = "ZYX"\nchannels = [1]'))
    assert settings.watch[0].read_options() == {"axes": "ZYX", "channels": [1]}
