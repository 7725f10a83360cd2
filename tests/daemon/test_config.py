"""config.toml: what is wrong is said in one line that names the key."""

from pathlib import Path

import pytest

from alcore.volumes.formats import FORMATS
from alcore.volumes.port import ReadOptions
from daemon.config import ACQUISITIONS, load
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
        (WATCH + "setle_s = 3", "unknown key 'watch.0.setle_s'; did you mean 'watch.settle_s'?"),
        (WATCH + "[training]\nplam = 'tiny'", "unknown key 'training.plam'; did you mean 'training.plan'?"),
        (WATCH + "[training.finetune_schedule]\nepoch = 3", "did you mean 'training.finetune_schedule.epochs'?"),
        (WATCH + "[selection]\nevery = 3", "unknown key 'selection.every'; did you mean 'training.every'?"),
        ("evry = 3\n" + WATCH, "unknown key 'evry'; did you mean 'training.every'?"),
        (WATCH + "[trainng]\nevery = 3", "unknown key 'trainng'; did you mean 'training'?"),
        (WATCH + "[run]\nxyzzy = 3", "known keys here: address, backlog, device, executor"),
        (WATCH + "[run]\ndevice = 'cdua'", "input should be 'auto', 'cpu' or 'cuda'; did you mean 'cuda'?"),
        (WATCH + "[alarms]\nkinds = ['novelti']", "did you mean 'novelty'?"),
        (
            WATCH + "[annotation]\nprecompute = 'atuo'",
            "annotation.precompute = 'atuo': input should be 'auto', true or",
        ),
        (WATCH + "[run]\nworkers = 'two'", "run.workers = 'two': input should be a valid integer"),
        (WATCH + "[run]\nworkers = 0", "run.workers = 0"),
        (WATCH + "voxel_um = [0, 1, 1]", "three positive numbers"),
        (WATCH + "[patch]\nshape_px = [0, 8, 8]", "patch.shape_px"),
        ("workspace = 3\n" + WATCH, "workspace = 3"),
        ('workspace = "in/ws"\n' + WATCH, "inside the watched folder"),
        ('workspace = "ws"\n[[watch]]\nfolder = "ws/in"', "inside the workspace"),
        (WATCH + '[[watch]]\nfolder = "in/deeper"', "in another watched folder"),
        (WATCH + 'marker = "done.txt"', "must name a file beside the acquisition, with {name} or {stem}"),
        (WATCH + 'marker = "../{stem}.done"', "must name a file beside the acquisition"),
        (WATCH + 'marker = "{nom}.done"', "must name a file beside the acquisition"),
        (WATCH + "[run]\nbacklog = 'largest'", "run.backlog = 'largest': input should be 'newest' or 'oldest'"),
        ("a = [", "not valid TOML"),
        (WATCH + "[training]\ngate_share = 1.5", "training.gate_share"),
        (WATCH + "[training]\ngate_max_patches = 2", "gate_max_patches = 2 is below gate_min_patches = 3"),
        (WATCH + "[training]\ngate_min_patches = 41", "gate_max_patches = 40 is below gate_min_patches = 41"),
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


def test_links_do_not_hide_that_folders_lie_in_each_other(tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "in").symlink_to(tmp_path / "ws")
    with pytest.raises(ConfigError, match="inside the workspace"):
        load(write(tmp_path, 'workspace = "ws"\n[[watch]]\nfolder = "in"\n'))
    (tmp_path / "other").symlink_to(tmp_path / "disk")
    with pytest.raises(ConfigError, match="inside the watched folder"):
        load(write(tmp_path, 'workspace = "other/ws"\n[[watch]]\nfolder = "disk"\n'))


def test_read_options_are_those_that_were_set(tmp_path):
    text = WATCH + 'axes = "ZYX"\nchannels = ["GFP", 1]\nchannels_together = true\ndataset = "/v"\nsparse = true\n'
    (watch,) = load(write(tmp_path, text)).watch
    expected = {"axes": "ZYX", "channels": ["GFP", 1], "together": True, "dataset": "/v", "sparse": True}
    assert watch.read_options() == expected
    ReadOptions.from_json(watch.read_options())
    assert load(write(tmp_path, WATCH)).watch[0].read_options() == {}


def test_every_suffix_that_can_be_read_is_watched_for():
    """But those that other programs use as well (.map, .ali, .hdf) are a person's choice."""
    suffixes = {s for f in FORMATS for s in f.suffixes}
    watched = {pattern.removeprefix("*") for pattern in ACQUISITIONS}
    assert watched <= suffixes
    assert {".tif", ".tiff", ".btf", ".zarr", ".mrc", ".h5", ".nd2", ".czi", ".lif"} <= watched
