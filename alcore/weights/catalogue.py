"""What can be fetched: files, checksums and licences. Checksums of micro_sam are those of its release 1.8.14."""

from __future__ import annotations

from dataclasses import dataclass

APACHE = "Apache License 2.0"
CC_BY = "CC BY 4.0: name the authors (Archit et al. 2025, Segment Anything for Microscopy)"
CELLSAM = "CellSAM licence: non-commercial academic use only, code and weights (Marks et al. 2025)"


@dataclass(frozen=True)
class WeightFile:
    """One file. name: in a weights folder. checksum: "xxh128:<hex>", "md5:<hex>" or "sha256:<hex>"."""

    name: str
    url: str
    checksum: str


@dataclass(frozen=True)
class Entry:
    """Weights by name. size_mb: of everything, about. token: environment variable that holds the key one needs, or "".

    files: what is downloaded. unpacked: the file inside a downloaded archive that is used, or "" where it is no archive.
    """

    name: str
    backend: str
    what: str
    licence: str
    size_mb: int
    files: tuple[WeightFile, ...]
    token: str = ""
    unpacked: str = ""

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the files in a weights folder that the backend loads."""
        return (f"{self.name}.pt",) if self.unpacked else tuple(f.name for f in self.files)


def _sam(name: str, file: str, digest: str, size_mb: int) -> Entry:
    url = f"https://dl.fbaipublicfiles.com/segment_anything/{file}"
    what = "Segment Anything as published, without decoder: slow, for anything"
    return Entry(name, "micro_sam", what, APACHE, size_mb, (WeightFile(name, url, f"xxh128:{digest}"),))


def _micro_sam(name: str, place: str, what: str, digest: str, decoder: str, size_mb: int) -> Entry:
    base = f"https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/{place}/files/{name[:5]}"
    files = (
        WeightFile(name, f"{base}.pt", f"xxh128:{digest}"),
        WeightFile(f"{name}_decoder", f"{base}_decoder.pt", f"xxh128:{decoder}"),
    )
    return Entry(name, "micro_sam", what, CC_BY, size_mb, files)


_LM, _EM = "cells and nuclei in light microscopy", "organelles in electron microscopy"
_ARCHIVE = WeightFile(
    "cellsam-models_v1.2.tar.gz",
    "https://users.deepcell.org/api/getData/?s3_key=models/cellsam-models_v1.2.tar.gz",
    "md5:f41e6899c49fc8ce12f77a8d25594604",
)


def _cellsam(name: str, what: str) -> Entry:
    inside = f"cellsam_v1.2/{name}.pt"
    return Entry(name, "cellsam", what, CELLSAM, 2200, (_ARCHIVE,), "DEEPCELL_ACCESS_TOKEN", inside)


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _micro_sam(
            "vit_b_lm",
            "diplomatic-bug/1.2",
            _LM,
            "fe9252a29f3f4ea53c15a06de471e186",
            "708b15ac620e235f90bb38612c4929ba",
            413,
        ),
        _micro_sam(
            "vit_l_lm",
            "idealistic-rat/1.2",
            _LM,
            "017f20677997d628426dec80a8018f9d",
            "2faeafa03819dfe03e7c46a44aaac64a",
            1290,
        ),
        _micro_sam(
            "vit_b_em_organelles",
            "noisy-ox/1.2",
            _EM,
            "f3bf2ed83d691456bae2c3f9a05fb438",
            "bb6398956a6b0132c26b631c14f95ce2",
            413,
        ),
        _micro_sam(
            "vit_l_em_organelles",
            "humorous-crab/1.2",
            _EM,
            "810b084b6e51acdbf760a993d8619f2d",
            "334877640bfdaaabce533e3252a17294",
            1290,
        ),
        _sam("vit_b", "sam_vit_b_01ec64.pth", "6923c33df3637b6a922d7682bfc9a86b", 375),
        _sam("vit_l", "sam_vit_l_0b3195.pth", "a82beb3c660661e3dd38d999cc860e9a", 1250),
        _sam("vit_h", "sam_vit_h_4b8939.pth", "97698fac30bd929c2e6d8d8cc15933c2", 2560),
        _cellsam("cellsam_general", "cells in any light microscopy, the model of the publication"),
        _cellsam("cellsam_extra", "the same, trained on more data sets"),
    )
}
"""Everything that can be fetched, by name."""
