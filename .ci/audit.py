"""`make audit`: are vulnerabilities known in what requirements.lock pins? Asked through pip-audit (Apache-2.0).

pip-audit is fetched for this run alone and is no dependency. Where neither database answers, one line says so, and that is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
TOOL = "pip-audit==2.10.1"
DATABASES = ("pypi", "osv")
PROBE_S, ALL_S = 30, 240


def asked(lock: Path, database: str, timeout_s: float) -> list[dict[str, Any]]:
    """What a database says of each pinned package that it knows; nothing when it cannot be asked."""
    uv = Path(sys.executable).parent / "uv"
    command = [uv, "tool", "run", TOOL, "-r", lock, "--no-deps", "--disable-pip", "--vulnerability-service", database]
    command += ["--timeout", "10", "--progress-spinner", "off", "--desc", "off", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
        return []
    return [package for package in found if "skip_reason" not in package]


def answers(line: str, database: str) -> bool:
    """Is there a database? One package is asked about before all others are: a mirror of the package index may have none."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "one.txt"
        probe.write_text(line + "\n")
        return bool(asked(probe, database, PROBE_S))


def told(found: list[dict[str, Any]]) -> list[str]:
    """One line for each vulnerability."""
    return [
        f"{package['name']} {package['version']}: {known['id']}"
        + (f" ({', '.join(known['aliases'])})" if known.get("aliases") else "")
        + (f", mended in {', '.join(known['fix_versions'])}" if known.get("fix_versions") else ", not mended yet")
        for package in found
        for known in package["vulns"]
    ]


def main() -> int:
    """1 when a vulnerability is known, else 0."""
    pinned = [line for line in LOCK.read_text().splitlines() if "==" in line]
    everywhere = next(line for line in pinned if ";" not in line)
    for database in DATABASES:
        if answers(everywhere, database) and (found := asked(LOCK, database, ALL_S)):
            lines = told(found)
            looked_up = f"{len(found)} of the {len(pinned)} pinned packages were looked up ({database})"
            sys.stdout.write("\n".join([f"audit: {looked_up}, {len(lines)} vulnerabilities are known", *lines]) + "\n")
            return int(bool(lines))
    sys.stdout.write("audit: no database of vulnerabilities can be reached from here, so nothing was checked\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
