"""Read from the source: no shell, nothing that runs what is in a file, and XML only where it was looked at before."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from alcore.errors import UnreadableVolumeError
from alcore.volumes import czi_metadata

ROOT = Path(__file__).resolve().parents[2]
WORTH_A_LOOK = re.compile(
    r"os\.(system|popen)|getoutput|getstatus|eval\(|exec\(|compile\(|pickle|joblib|marshal|shelve|torch\.(load|hub|jit)|yaml"
    r"|shell|etree|ElementTree"
)
SOURCES = {
    str(path.relative_to(ROOT)): text
    for folder in ("alcore", "daemon")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if WORTH_A_LOOK.search(text := path.read_text(encoding="utf-8"))
}
"""Text of each file that names anything of this kind."""
RUNS_CODE = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "eval", "exec", "compile"),
    *(
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "joblib.load",
        "marshal.loads",
        "shelve.open",
        "torch.jit.load",
    ),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load"),
}
OUR_OWN = {"alcore/nnunet/cached_case.py": {"pickle.load"}}
"""The cache of nnU-Net, written by us from checked labels, in a folder that only this user may write to."""
XML = {
    "alcore/volumes/czi_metadata.py": "refuses entities (below)",
    "alcore/volumes/labels.py": "what tiff_ome has parsed already",
    "alcore/volumes/tiff_ome.py": "refuses entities (tests/alcore/volumes/test_tiff_set.py)",
}
"""Files that parse XML, and why an entity cannot do harm there."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, call) of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            yield ast.unparse(node.func), node


def wrong_in(source: str, own: set[str]) -> list[str]:
    """What a source does that it must not."""
    found = []
    for name, call in calls(ast.parse(source)):
        said = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name in RUNS_CODE - own:
            found.append(f"{call.lineno}: {name}")
        if said.get("shell", "False") != "False" or said.get("allow_pickle", "False") != "False":
            found.append(f"{call.lineno}: {name} with shell or allow_pickle")
        if name == "torch.load" and said.get("weights_only") != "True":
            found.append(f"{call.lineno}: torch.load without weights_only=True")
    return found


def test_no_file_and_no_name_is_run() -> None:
    wrong = {path: found for path, text in SOURCES.items() if (found := wrong_in(text, OUR_OWN.get(path, set())))}
    assert wrong == {}
    assert set(OUR_OWN) <= set(SOURCES)


@pytest.mark.parametrize(
    "source",
    [
        "os.system(x)",
        "run(x, shell=True)",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "pickle.load(f)",
        "eval(x)",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert WORTH_A_LOOK.search(source)
    assert wrong_in(source, set())


def test_xml_is_parsed_where_entities_are_refused() -> None:
    parsers = (
        "ElementTree.fromstring",
        "ElementTree.XMLParser",
        "ElementTree.parse",
        "ElementTree.iterparse",
        "etree.",
    )
    found = {
        path
        for path, text in SOURCES.items()
        if "lementTree" in text and any(name.startswith(parsers) for name, _ in calls(ast.parse(text)))
    }
    assert found == set(XML)


def test_a_czi_that_defines_entities_is_refused() -> None:
    """A few lines that would become gigabytes."""
    bomb = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><ImageDocument>&b;</ImageDocument>'
    with pytest.raises(UnreadableVolumeError, match="define entities"):
        czi_metadata.parse(Path("a.czi"), bomb)
