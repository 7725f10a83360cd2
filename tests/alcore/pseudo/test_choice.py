"""Which backend is chosen when that is left open, as a table of situations, and what must hold of every one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.pseudo.choice import MARGIN, Choice, Measured, Situation, choose

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
            Situation(
                NOTHING_MISSING, BOTH, "cuda", None, {"threshold": Measured(0.7, 5), "micro_sam": Measured(0.5, 4)}
            ),
            "threshold",
            "best F1: 0.70 on 5 held-out labels (micro_sam 0.50 on 4)",
        ),
        (
            Situation(
                NOTHING_MISSING, BOTH, "cuda", None, {"threshold": Measured(0.7, 2), "micro_sam": Measured(0.5, 5)}
            ),
            "micro_sam",
            "GPU",
        ),
        (
            Situation(NOTHING_MISSING, {}, "cpu", "v3", {"threshold": Measured(0.5, 4, 0.6)}),
            "nnunet",
            "F1 0.60 against 0.50 of threshold on 4 held-out labels",
        ),
        (
            Situation(NOTHING_MISSING, {}, "cpu", "v3", {"threshold": Measured(0.6, 4, 0.61)}),
            "threshold",
            "v3 is not better by 0.02: F1 0.61 against 0.60",
        ),
        (Situation(NOTHING_MISSING, {}, "cpu", "v3", {"threshold": Measured(0.5, 2, 0.9)}), "threshold", "no weights"),
        (Situation(NOTHING_MISSING, {}, "cpu", "v3", {"threshold": Measured(0.5, 4)}), "threshold", "no weights"),
        (Situation(NOTHING_MISSING, {}, "cpu", None, {"threshold": Measured(0.5, 4, 0.9)}), "threshold", "no weights"),
        (Situation(NOTHING_MISSING, {}, "cpu", "v3", {"nnunet": Measured(0.5, 4, 0.9)}), "threshold", "no weights"),
        (
            # it beats the threshold and not micro_sam, which can run
            Situation(
                NOTHING_MISSING,
                BOTH,
                "cuda",
                "v3",
                {"threshold": Measured(0.5, 4, 0.8), "micro_sam": Measured(0.7, 4, 0.71)},
            ),
            "micro_sam",
            "best F1: 0.70",
        ),
        (
            # micro_sam cannot run any more: what it was worth holds the model back no longer
            Situation(
                NOTHING_MISSING,
                BOTH,
                "cpu",
                "v3",
                {"threshold": Measured(0.5, 4, 0.8), "micro_sam": Measured(0.7, 4, 0.71)},
            ),
            "nnunet",
            "F1 0.80 against 0.50 of threshold",
        ),
        (
            Situation(NOTHING_MISSING, BOTH, "cpu", "v3", {"micro_sam": Measured(0.7, 4, 0.75)}),
            "nnunet",
            "against 0.70 of micro_sam",
        ),
    ],
)
def test_situations(situation: Situation, backend: str, why: str) -> None:
    chosen = choose(situation)
    assert chosen.backend == backend and why in chosen.why
    assert len(chosen.why.splitlines()) == 1


MEASURED = st.builds(Measured, st.floats(0, 1), st.integers(1, 6), st.none() | st.floats(0, 1))
SITUATIONS = st.builds(
    Situation,
    missing=st.fixed_dictionaries({n: st.sampled_from([(), ("x",)]) for n in ("micro_sam", "cellsam")}),
    weights=st.dictionaries(st.sampled_from(["micro_sam", "cellsam"]), st.just("w")),
    device=st.sampled_from(["cpu", "cuda"]),
    promoted=st.sampled_from([None, "v1"]),
    measured=st.dictionaries(st.sampled_from(["threshold", "micro_sam", "cellsam", "nnunet"]), MEASURED),
)


@given(SITUATIONS)
def test_never_takes_what_cannot_run_or_is_known_to_be_worse(now: Situation) -> None:
    chosen: Choice = choose(now)
    can: dict[str, Any] = {
        n: not now.missing[n] and n in now.weights and now.device == "cuda" for n in ("micro_sam", "cellsam")
    } | {"threshold": True, "nnunet": now.promoted is not None}
    assert can[chosen.backend]
    rivals = [m for n, m in now.measured.items() if n != "nnunet" and can[n] and m.n >= 3]
    if chosen.backend == "nnunet":
        assert all(m.model is None or m.model > m.f1 + MARGIN for m in rivals)
        assert any(m.model is not None and m.n >= 3 for n, m in now.measured.items() if n != "nnunet")
    elif now.measured.get(chosen.backend) in rivals:
        assert now.measured[chosen.backend].f1 >= max(m.f1 for m in rivals)


def test_only_the_model_that_is_better_than_all_that_can_run_labels() -> None:
    for lead, expected in ((0.0, "threshold"), (0.019, "threshold"), (0.03, "nnunet")):
        now = Situation(NOTHING_MISSING, {}, "cpu", "v1", {"threshold": Measured(0.5, 3, 0.5 + lead)})
        assert choose(now).backend == expected
