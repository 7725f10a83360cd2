"""What a label file may be called: the name of its suggestion, and an ending that says what it is."""

from __future__ import annotations

SUFFIXES = (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".nrrd", ".seg.nrrd", ".nii", ".nii.gz")
"""Endings of label files that can be read, of napari, Fiji, QuPath, ITK-SNAP and others."""
SEEN = ".seen"
"""Between name and ending: <suggestion>.seen.tif says beside <suggestion>.tif which part was looked at."""
KNOWN = "TIFF (.tif, .ome.tif), NRRD (.nrrd) or NIfTI (.nii, .nii.gz)"


def stem_of(name: str) -> str:
    """What comes before the first point: names of suggestions have none."""
    return name.partition(".")[0]


def suffix_of(name: str) -> str:
    """From the first point on, in small letters: ".tif", ".ome.tif", ".nii.gz"."""
    return name[len(stem_of(name)) :].lower()


def ending_of(name: str) -> str:
    """The longest ending of a label file that a name has, whatever comes before it; "" when it has none."""
    low = name.lower()
    return max((s for s in SUFFIXES if low.endswith(s)), key=len, default="")


def is_seen_mask(name: str) -> bool:
    """Does a file say which part of a patch was looked at, rather than what was seen there?"""
    return suffix_of(name) in {f"{SEEN}{ending}" for ending in SUFFIXES}
