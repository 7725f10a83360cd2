"""`make audit`: one line where nothing can be asked, one for each vulnerability where something is known."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"


def test_without_a_network_it_says_so_and_passes(tmp_path: Path) -> None:
    offline = os.environ | {
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_TOOL_DIR": str(tmp_path / "t"),
    }
    done = subprocess.run(
        [sys.executable, SCRIPT], env=offline, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "audit: no database of vulnerabilities can be reached from here, so nothing was checked\n"


def test_what_is_known_is_one_line_each() -> None:
    """As pip-audit reports it."""
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    known = {"id": "PYSEC-2021-66", "fix_versions": ["2.11.3"], "aliases": ["CVE-2020-28493"], "description": "..."}
    open_one = {"id": "GHSA-1", "fix_versions": [], "aliases": [], "description": "..."}
    report = [
        {"name": "jinja2", "version": "2.10", "vulns": [known, open_one]},
        {"name": "click", "version": "8.1.7", "vulns": []},
    ]
    assert audit.told(report) == [
        "jinja2 2.10: PYSEC-2021-66 (CVE-2020-28493), mended in 2.11.3",
        "jinja2 2.10: GHSA-1, not mended yet",
    ]
