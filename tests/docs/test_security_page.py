"""docs/security.md: every promise names a test, and the test is there."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_test_that_is_named_is_there() -> None:
    assert len(NAMED) > 20
    missing = []
    for path, name in NAMED:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{path}::{name}")
    assert missing == []


def test_every_promise_names_one() -> None:
    done = PAGE.partition("## What is done")[2].partition("## What is not done")[0]
    promises = [part for part in done.split("\n\n") if part.strip()]
    assert len(promises) > 8
    assert [part[:60] for part in promises if "::test_" not in part] == []
