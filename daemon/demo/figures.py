"""Pictures of a demo: each volume as image, pseudo-label, prediction and truth, and the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def volume_picture(path: Path, title: str, image: Array, masks: Sequence[tuple[str, Array | None]]) -> None:
    """One row: the middle slice of the image, then each mask over it in colours, with its name above.

    image (Z, Y, X); masks (Z, Y, X) instances or None where there is none.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    z = len(image) // 2
    low, high = np.percentile(image, (0.5, 99.5))
    figure, axes = plt.subplots(1, 1 + len(masks), figsize=(4 * (1 + len(masks)), 4.6), layout="constrained")
    for axis, (name, mask) in zip(axes, [("image", None), *masks], strict=True):
        axis.imshow(image[z], cmap="gray", vmin=low, vmax=max(high, low + 1), interpolation="nearest")
        if mask is not None and mask[z].any():
            axis.imshow(colours(mask[z]), interpolation="nearest")
        axis.set_title(name if mask is not None or name == "image" else f"{name}: none", fontsize=11)
        axis.set_axis_off()
    figure.suptitle(f"{title}, slice {z + 1} of {len(image)}", fontsize=12)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def colours(mask: Array) -> Array:
    """(Y, X) instance ids -> (Y, X, 4) colours that differ between neighbours, with solid outlines, 0 transparent."""
    import matplotlib
    import numpy as np
    from skimage.segmentation import find_boundaries

    hue = (mask.astype(np.int64) * 0.61803398875) % 1.0
    rgba = matplotlib.colormaps["hsv"](hue)
    rgba[..., 3] = np.where(mask > 0, 0.35, 0.0)
    rgba[find_boundaries(mask, mode="inner") & (mask > 0), 3] = 1.0
    found: Array = rgba
    return found


def learning_curve(path: Path, summary: dict[str, Any]) -> None:
    """Scores on the test volume against the share of the pool that the expert labelled, the pseudo-labels as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    share = [100 * r["fraction"] for r in summary["rounds"]]
    if summary["pretrained_scores"]:
        share = [0.0, *share]
    for name, label, colour in (("f1", "F1 at IoU 0.5", "#0b6e99"), ("dice", "Dice", "#b35900")):
        values = [r["scores"][name] for r in summary["rounds"]]
        if summary["pretrained_scores"]:
            values = [summary["pretrained_scores"][name], *values]
        axis.plot(share, values, "o-", color=colour, label=label)
        axis.axhline(
            summary["pseudo_label_scores"][name], color=colour, ls=":", lw=1.2, label=f"{label}, pseudo-labels"
        )
    axis.set_xlabel("share of the pool labelled by the expert (%)")
    axis.set_ylabel("score on the test volume")
    axis.set_ylim(0, 1)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
