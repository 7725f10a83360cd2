"""Which backend is chosen when that is left open, as a table of situations, and what must hold of every one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.pseudo.choice import MARGIN, Choice, Situation, choose

NOTHING_MISSING: dict[str, tuple[str, ...]] = {"micro_sam": (), "cellsam": ()}
BOTH = {"micro_sam": "vit_b_lm", "cellsam": "cellsam_general"}


@pytest.mark.parametrize(
    ("situation", "backend", "why"),
    [
        (
            Situation({"micro_sam": ("micro_sam",), "cellsam": ("cellSAM",)}, {}, "cuda"),
            "threshold",
            "micro_sam not installed",
        ),
        (Situation(NOTHING_MISSING, {}, "cuda"), "threshold", "alscope models fetch"),
        (Situation(NOTHING_MISSING, BOTH, "cpu"), "threshold", "a minute for each picture on a CPU"),
        (Situation(NOTHING_MISSING, BOTH, "cuda"), "micro_sam", "vit_b_lm are here, and there is a GPU"),
        (Situation({"micro_sam": ("elf",), "cellsam": ()}, BOTH, "cuda"), "cellsam", "cellsam_general are here"),
        (
            Situation(NOTHING_MISSING, BOTH, "cuda", None, {"threshold": 0.7, "micro_sam": 0.5}, 5),
            "threshold",
            "best F1 on 5 accepted labels: 0.70 (micro_sam 0.50)",
        ),
        (Situation(NOTHING_MISSING, BOTH, "cuda", None, {"threshold": 0.7, "micro_sam": 0.5}, 2), "micro_sam", "GPU"),
        (
            Situation(NOTHING_MISSING, {}, "cpu", "v3", {"threshold": 0.5, "nnunet": 0.6}, 4),
            "nnunet",
            "model v3 is better than what came before: F1 0.60 against 0.50 of threshold on 4 accepted labels",
        ),
        (
            Situation(NOTHING_MISSING, {}, "cpu", "v3", {"threshold": 0.6, "nnunet": 0.61}, 4),
            "threshold",
            "not better by",
        ),
        (
            Situation(NOTHING_MISSING, {}, "cpu", None, {"threshold": 0.5, "nnunet": 0.9}, 4),
            "threshold",
            "needs no weights",
        ),
        (Situation(NOTHING_MISSING, {}, "cpu", "v3", {"nnunet": 0.9}, 4), "threshold", "needs no weights"),
    ],
)
def test_situations(situation: Situation, backend: str, why: str) -> None:
    chosen = choose(situation)
    assert chosen.backend == backend and why in chosen.why
    assert len(chosen.why.splitlines()) == 1


SCORE = st.floats(0, 1)
SITUATIONS = st.builds(
    Situation,
    missing=st.fixed_dictionaries({n: st.sampled_from([(), ("x",)]) for n in ("micro_sam", "cellsam")}),
    weights=st.dictionaries(st.sampled_from(["micro_sam", "cellsam"]), st.just("w")),
    device=st.sampled_from(["cpu", "cuda"]),
    promoted=st.sampled_from([None, "v1"]),
    scores=st.dictionaries(st.sampled_from(["threshold", "micro_sam", "cellsam", "nnunet"]), SCORE),
    n_labels=st.integers(0, 6),
)


@given(SITUATIONS)
def test_never_takes_what_cannot_run_or_is_known_to_be_worse(now: Situation) -> None:
    chosen: Choice = choose(now)
    can: dict[str, Any] = {
        n: not now.missing[n] and n in now.weights and now.device == "cuda" for n in ("micro_sam", "cellsam")
    } | {"threshold": True, "nnunet": now.promoted is not None}
    assert can[chosen.backend]
    if now.n_labels >= 3 and chosen.backend in now.scores:
        rivals = [now.scores[n] for n in ("threshold", "micro_sam", "cellsam") if can[n] and n in now.scores]
        floor = MARGIN if chosen.backend == "nnunet" else 0
        assert now.scores[chosen.backend] >= max(rivals) + floor or rivals == [now.scores[chosen.backend]]
