"""The support bundle: whole, without secrets, images and (on demand) names, and made although something is broken."""

from __future__ import annotations

import json
import re
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from daemon.redaction import MASKED, Redaction, secrets_of, without_secrets
from daemon.store.connection import DATABASE, open_reader

SECRET = "https://hooks.example.org/services/T0Xq/s3cr3t-p4th"
TOKEN = "tok-9f8e7d6c5b"
IMAGE = b"\x89voxels of nobody's business\xfe" * 40


def rows(scene, sql: str) -> list[str]:
    """The first column of what the database says."""
    with closing(open_reader(scene.workspace.root / DATABASE)) as db:
        return [row[0] for row in db.execute(sql)]


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as bundle:
        assert bundle.testzip() is None
        return {name: bundle.read(name) for name in bundle.namelist()}


@pytest.fixture
def lab(scene):
    """A workspace with trouble, secrets in its configuration and its logs, and images in its folders."""
    scene.troubled()
    scene.volume("Mueller liver_07.tif")
    (scene.root / "in" / "Patient Schmidt").mkdir()
    (scene.root / "in" / "Patient Schmidt" / "biopsy.ome.tif").write_bytes(IMAGE)
    scene.config.write_text(
        scene.config.read_text()
        + f'[alarms]\nwebhook = "{SECRET}"\ncommand = [\n "curl", "-H",\n "X-Key: {TOKEN}",\n]\n'
        + f"# formerly webhook = '{SECRET}-old'\n"
    )
    scene.config.chmod(0o600)
    failed = rows(scene, "SELECT id FROM job WHERE state = 'failed'")[0]
    log = scene.workspace.places.job(failed) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    said = f"posted to {SECRET} with X-Key: {TOKEN}\nDEEPCELL_ACCESS_TOKEN=abcdefgh123\n/in/Mueller liver_07.tif: no\n"
    log.write_text(
        "x" * 100_000 + "\n" + said + f"by ana: {scene.root}/in/Patient Schmidt/biopsy.ome.tif is no volume\n"
    )
    for folder in ("artifacts", "queue", "predictions", "cache"):
        (scene.workspace.root / folder / "image.tif").write_bytes(IMAGE)
    scene.log = f"logs/{failed}.txt"
    return scene


def test_a_bundle_has_it_all_but_secrets_and_images(lab, alscope, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPCELL_ACCESS_TOKEN", "env-s3cr3t-value")
    lab.store.state.event("alarm", f"told {SECRET}; env-s3cr3t-value", lab.now)
    target = tmp_path / "help.zip"
    done = alscope("doctor", "--bundle", str(target), "--json")
    assert done.code == 0 and done.data["lacking"] == {}
    assert target.stat().st_mode & 0o077 == 0
    found = members(target)
    for name, content in found.items():
        assert not any(s in content for s in (b"s3cr3t", TOKEN.encode(), b"abcdefgh123")), name
        assert b"nobody's business" not in content, name
    assert len(found[lab.log]) < 70_000 and b"posted to" in found[lab.log]
    assert b"liver_07" in found["volumes.json"] and b"min_free_gb" in found["config.toml"]
    data = {name: json.loads(content) for name, content in found.items() if name.endswith(".json")}
    assert data["database.json"]["quick_check"] == ["ok"] and data["database.json"]["rows"]["volume"] == len(
        lab.volumes
    )
    assert {"alscope", "python", "platform"} <= data["about.json"].keys()
    assert data["folders.json"]["artifacts"]["bytes"] >= len(IMAGE)
    assert data["events.json"] and data["problems.json"] and data["models.json"] and data["jobs.json"]
    assert {check["name"] for check in data["doctor.json"]} >= {"python", "config", "database"}
    assert "already" in alscope("doctor", "--bundle", str(target)).err
    assert "cannot be written" in alscope("doctor", "--bundle", str(target / "x.zip")).err
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_private_names_are_in_no_member(lab, alscope, tmp_path):
    users = set(rows(lab, "SELECT author FROM received WHERE author <> ''"))
    assert "ana" in users
    names = rows(lab, "SELECT name FROM source")
    made = []
    for target in (tmp_path / "a.zip", tmp_path / "b.zip"):
        assert alscope("doctor", "--bundle", str(target), "--private").code == 0
        made.append(members(target))
    for name, content in made[0].items():
        for private in ("Mueller", "Schmidt", "biopsy", "evil", "em2", *names):
            assert private.encode() not in content, (name, private)
            assert json.dumps(private)[1:-1].encode() not in content, (name, private)
        for user in users:
            assert not re.search(rf"\b{user}\b".encode(), content), (name, user)
        assert str(tmp_path).encode() not in content, name
    volumes = [{v["name"] for v in json.loads(found["volumes.json"])} for found in made]
    assert volumes[0] == volumes[1] and len(volumes[0]) == len(names)
    assert all(v.startswith("volume_0") for v in volumes[0])
    assert b"folder_" in made[0][lab.log]


def test_a_damaged_database_is_said_and_not_the_end(lab, alscope, tmp_path):
    lab.close()
    (lab.workspace.root / "alscope.db").write_bytes(b"broken " * 1000)
    for private in ((), ("--private",)):
        target = tmp_path / f"{len(private)}.zip"
        done = alscope("doctor", "--bundle", str(target), *private)
        assert done.code == 0 and "without status.json" in done.out
        found = members(target)
        assert b"file is not a database" in found["database.json"]
        assert b"volumes.json: not here" in found["contents.txt"]
        assert b"liver" not in found["contents.txt"] and (lab.log in found) == (
            not private
        )  # without a database nobody knows which names are in it
        assert b"Mueller" not in b"".join(found.values()) or not private
        assert TOKEN.encode() not in b"".join(found.values())


def test_without_a_readable_configuration(lab, alscope, tmp_path, monkeypatch):
    lab.config.write_text(lab.config.read_text() + "this is no TOML\n")
    target = tmp_path / "help.zip"
    done = alscope("doctor", "--bundle", str(target), "--json")
    assert done.code == 0 and done.data["lacking"] == {}
    found = members(target)
    assert b"this is no TOML" in found["config.toml"] and MASKED.encode() in found["config.toml"]
    assert not any(s in found["config.toml"] for s in (b"s3cr3t", TOKEN.encode()))
    assert b"liver_07" in found["volumes.json"]
    lab.config.unlink()
    monkeypatch.chdir(tmp_path / "in")
    assert alscope("doctor", "--bundle").code == 0
    (made,) = (tmp_path / "in").glob("alscope-support-*.zip")
    assert {"about.json", "doctor.json", "contents.txt"} <= members(made).keys()
    assert "--bundle" in alscope("doctor", "--private").err


def test_values_of_secret_keys_are_masked_however_they_are_written():
    text = 'a = { webhook = "xx1" }\n"api_key"="xx2"\ntoken = """\nxx3\nb = 1\n"""\nevery = 5\ncommand = []\nwebhook = "$W"\n'
    assert "xx" not in without_secrets(text)
    assert without_secrets(text).splitlines()[-3:] == ["every = 5", "command = []", 'webhook = "$W"']
    assert secrets_of({"a": {"token": ["one", "$TWO"]}}, {"MY_TOKEN": "three", "N_TOKENS": "4"}) == {"one", "three"}


def test_names_are_found_in_text_and_paths_and_not_within_words():
    known = Redaction([], {"a": "volume_0001", "ada": "user_1", "x y.tif": "volume_0002.tif", "12": "volume_0003"})
    assert known.text("a label by ada, 12 patches: adaptive /in/12/x y.tif\\nada") == (
        "a label by user_1, 12 patches: adaptive /in/volume_0003/volume_0002.tif\\nuser_1"
    )
    assert known.value({"name": "a", "n": 12, "user": None}) == {"name": "volume_0001", "n": 12, "user": None}
