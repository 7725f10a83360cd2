"""Names that do not exist: what was meant."""

import pytest

from daemon.nearest import did_you_mean, nearest

IDS = [f"s{n:05d}" for n in range(1, 400)]


@pytest.mark.parametrize(
    ("said", "known", "meant"),
    [
        ("s0001", IDS, "s00001"),
        ("s1", IDS, "s00001"),
        ("S00017", IDS, "s00017"),
        ("m_f_2", ["M_f-001", "M_f-002"], "M_f-002"),
        ("statsu", ["status", "queue"], "status"),
        ("cdua", ["auto", "cpu", "cuda"], "cuda"),
        ("gpu", ["auto", "cpu", "cuda"], None),
        ("xyzzy", IDS, None),
        ("", IDS, None),
        ("anything", [], None),
    ],
)
def test_what_was_meant(said, known, meant):
    assert nearest(said, known) == meant
    assert did_you_mean(said, known, "nothing like it") == (f"did you mean {meant!r}?" if meant else "nothing like it")
