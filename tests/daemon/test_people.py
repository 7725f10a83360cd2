"""Names of people: one name for whatever is typed for it."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.people import MOST_CHARACTERS, name_of


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("ana", "ana"),
        (" ana\t\n", "ana"),
        ("Ana  Maria", "Ana Maria"),
        ("Ana\u00a0Maria", "Ana Maria"),
        ("Ren\u0065\u0301", "Ren\u00e9"),
        ("a\x1b[31mna", "a [31mna"),
        ("\ud800", ""),
        (" \n", ""),
        (None, ""),
        (3, ""),
        ("x" * 200, "x" * 80),
    ],
)
def test_what_is_typed_and_who_is_meant(said, name):
    assert name_of(said) == name


@given(st.text(max_size=200))
def test_a_name_is_fit_for_a_table_a_file_and_the_database_and_stays_the_same(said):
    name = name_of(said)
    assert name_of(name) == name
    assert len(name) <= MOST_CHARACTERS and name == name.strip() and name.isprintable()
    assert (
        unicodedata.is_normalized("NFC", name)
        and name.encode().decode() == name
        and json.loads(json.dumps(name)) == name
    )
    assert name_of(f" {said}\n") == name
