"""Reads one acquisition as the daemon does, in this process, and prints what it took as JSON. Run by `benchmarks.ingest`.

`python -m benchmarks.ingest_once <file> <folder for the artifact> <ram_gb>`
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from alcore.artifact import ArtifactStore
from alcore.fileset import fingerprint_of
from alcore.run import QuietContext, execute
from alcore.stage import Input


def main() -> int:
    """Run the stage `volume` once."""
    source, folder, ram_gb = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    _import_all()
    before = peak_mb()
    found = fingerprint_of(os.fsencode(source))
    assert found is not None
    params: dict[str, Any] = {
        "read": {},
        "voxel_um": None,
        "patch": {"shape_px": [32, 256, 256]},
        "fingerprint": json.loads(found.to_text()),
        "limit_gb": 500.0,
    }
    context = QuietContext(folder / "scratch", folder / "cache", ram_bytes=int(ram_gb * 2**30))
    artifacts = ArtifactStore(folder / "artifacts")
    began, worked = time.perf_counter(), time.process_time()
    manifest = execute("volume", {"source": [Input(source, "file:benchmark")]}, params, artifacts, context)
    took = {"seconds": time.perf_counter() - began, "processor_s": time.process_time() - worked}
    shapes = [v["info"]["shape"] for v in manifest.result["volumes"]]
    print(json.dumps(took | {"peak_mb": peak_mb(), "before_mb": before, "shapes": shapes}))
    return 0


def _import_all() -> None:
    """Workers outlive their jobs: what they import is not part of one."""
    import alcore.arrays.tiling
    import alcore.stages.volume
    import alcore.volumes.hashing
    import alcore.volumes.picture
    import alcore.volumes.sweep  # noqa: F401


def peak_mb() -> float:
    """Peak resident memory of this process alone (ru_maxrss would tell that of the process it was forked from)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status does not say VmHWM")


if __name__ == "__main__":
    sys.exit(main())
