"""Makes the pictures of docs/evidence.md and of the encoder: `make docs-images`.

Those of the encoder are drawn on a synthetic pool. Those of the simulation are figures of a finished `alscope simulate`, which takes
an hour and labelled data (docs/evidence.md says how): where its folder is not there, they stay as they are.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = (
    "encoder_neighbours.png",
    "encoder_latent.png",
    "simulation_learning_curve.png",
    "simulation_latent_map.png",
    "simulation_learning_curve_nnunet.png",
)
FIGURES = {
    "fast": {
        "learning_curve_fast.png": "simulation_learning_curve.png",
        "latent_map_0.png": "simulation_latent_map.png",
    },
    "nnunet": {"learning_curve_nnunet.png": "simulation_learning_curve_nnunet.png"},
}
"""Learner -> figure of its simulation -> picture."""


def main(simulations: Path, target: Path) -> int:
    """Draw what can be drawn here, copy what was played. simulations: with a folder for each learner."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.encoder_pictures", folder, "--pool", "synthetic"]
        subprocess.run(command, cwd=ROOT, check=True)
        for name in ("neighbours.png", "latent.png"):
            shutil.copyfile(Path(folder) / name, target / f"encoder_{name}")
    for learner, figures in FIGURES.items():
        played = simulations / learner
        if not played.is_dir():
            sys.stderr.write(f"{played}: no simulation here; its pictures stay as they are\n")
            continue
        for name, picture in figures.items():
            shutil.copyfile(played / "figures" / name, target / picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), ROOT / "docs" / "images"))
