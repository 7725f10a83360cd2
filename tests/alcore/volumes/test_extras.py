"""Without the optional packages: one line with the command that installs what is missing, and its licence; everything else works."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import alcore
from alcore.errors import MissingExtraError

FILES = {
    "nd2": ("nd2", "nd2_tif_pims/pims/tests/data/bioformats/cluster.nd2"),
    "czifile": ("czi", "czi_zeiss/c_tests/resources/tiles_z.czi"),
    "liffile": ("lif", "lif_leica/tests/testdata_2channel_xz.lif"),
}
"""Package -> its extra, and a real file that needs it."""
SCRIPT = """
import json, os, sys
from pathlib import Path
sys.modules[sys.argv[1]] = None
from alcore.errors import AlcoreError
from alcore.fileset import fingerprint_of
from alcore.stage import Input
from alcore.stages import volume
from alcore.volumes import check, open_volume, parts

class Context:
    ram_bytes = 1 << 30
    def progress(self, fraction, note=""):
        pass

path = Path(sys.argv[2])
params = {"read": {}, "voxel_um": None, "patch": {"shape_px": [8, 64, 64]}, "fingerprint": None, "limit_gb": 8}
for look in (
    lambda: check.problems(path),
    lambda: parts(path),
    lambda: open_volume(path),
    lambda: volume.run({"source": [Input(path, "file:x")]}, params, Path("."), Context()),
):
    try:
        look()
    except AlcoreError as e:
        print(json.dumps([e.kind, str(e)]))
"""


@pytest.mark.parametrize("package", FILES)
def test_a_missing_package_is_one_line_with_its_command_and_licence(
    package: str, real_data: Callable[[str], Path]
) -> None:
    extra, name = FILES[package]
    path = real_data("formats") / name
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, package, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(alcore.__file__).parents[1],
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == 4
    for kind, words in told:
        assert kind == MissingExtraError.kind
        assert words.startswith(f"{path}: ")
        assert words.endswith(
            f'needs the package {package} (BSD-3-Clause): pip install ".[{extra}]" in your clone of alscope'
        )
        assert len(words.splitlines()) == 1


@pytest.mark.parametrize("package", FILES)
def test_the_licence_that_is_told_is_the_packages(package: str) -> None:
    metadata = pytest.importorskip("importlib.metadata")
    pytest.importorskip(package)
    about = metadata.metadata(importlib.import_module(package).__name__)
    stated = " ".join(
        [about.get("License-Expression") or "", about.get("License") or "", *about.get_all("Classifier", [])]
    )
    assert "BSD" in stated
    assert "GPL" not in stated
