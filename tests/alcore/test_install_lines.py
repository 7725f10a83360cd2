"""alscope is on no registry: what is said about a missing package has to work in a clone of it."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from alcore.errors import install_line
from daemon.errors import ConfigError
from daemon.executors.chosen import need_distributed

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [p for folder in ("alcore", "daemon") for p in (ROOT / folder).rglob("*.py")]


def test_a_line_says_what_to_type_and_where():
    assert install_line("nd2") == 'pip install ".[nd2]" in your clone of alscope'
    assert install_line("a", "--no-deps b") == 'pip install ".[a]" && pip install --no-deps b in your clone of alscope'


def test_no_message_or_page_sends_anybody_to_a_registry():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    wrong = [p.name for p in (*SOURCES, *pages) if re.search(r"install [^\n]*alscope\[", p.read_text())]
    assert not wrong


def test_extras_that_messages_name_exist():
    there = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {x for p in SOURCES for x in re.findall(r"install_line\(\s*[\"']([\w-]+)[\"']", p.read_text())}
    assert {"annotate", "cluster", "micro-sam"} <= named <= there


def test_a_cluster_without_distributed_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as wrong:
        need_distributed()
    assert str(wrong.value).endswith('distributed is not installed: pip install ".[cluster]" in your clone of alscope')
