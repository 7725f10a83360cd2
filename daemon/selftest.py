"""The self-test of an encoder in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def self_test_words(result: Mapping[str, Any]) -> str:
    """The two figures of a self-test that people can judge; "" where there are none."""
    test = result.get("selftest") or result
    words = {"self_retrieval": "self-retrieval {:.2f}", "effective_rank": "effective rank {:.0f}"}
    return ", ".join(text.format(test[key]) for key, text in words.items() if isinstance(test.get(key), int | float))
