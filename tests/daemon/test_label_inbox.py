"""Label files in the inbox, whatever their tool, number and moment: one clear line each, and nothing is lost."""

from __future__ import annotations

import os
from typing import Any

import pytest

from alcore.fileset import fingerprint_of
from daemon import commands
from daemon.arrival import Settled
from daemon.commands import leave_label_note
from daemon.executors.port import Finished, Order
from daemon.walk import INBOX
from tests.daemon.play import Stage
from tests.daemon.scripted import results
from tests.daemon.selection_play import hold


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path, results)
    made.drop("a.tif", b"one")
    made.run()
    yield made
    made.store.close()


def save(stage, name: str, content: bytes = b"label") -> None:
    path = stage.inbox / name
    path.write_bytes(content)
    stage.settled(path, INBOX)


def received(stage) -> list[tuple[str, str, bytes]]:
    """(state, author, bytes kept) of everything that came in."""
    return [
        (r.state, r.author, (stage.workspace.root / r.file).read_bytes()) for r in stage.store.labels.received("1 = 1")
    ]


@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".ome.tif", ".nrrd", ".seg.nrrd", ".nii", ".nii.gz"])
def test_every_ending_is_taken_and_kept(stage, ending):
    save(stage, f"s00001{ending}")
    stage.run()
    assert stage.shot().labels["accepted"] == 1
    (kept,) = stage.store.labels.received("1 = 1")
    assert kept.file == f"labels/received/s00001-00001{ending.lower()}"
    assert not list(stage.inbox.iterdir())
    assert (stage.workspace.labels / "s00001.tif").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("s00001-labels.tif", "is it s00001.tif?"),
        ("s00001.v2.nii.gz", "is it s00001.nii.gz?"),
        ("s00001_mask.ome.tif", "is it s00001.ome.tif?"),
        ("S1.tif", "is it s00001.tif?"),
        ("s0001.nrrd", "is it s00001.nrrd?"),
        ("s99999.nrrd", "`alscope queue` lists the names"),
        ("s00001.png", "a label is a TIFF (.tif, .ome.tif), NRRD (.nrrd) or NIfTI"),
        ("s00001", "a label is a TIFF"),
        ("s00001.mha", "a label is a TIFF"),
    ],
)
def test_names_that_mean_nothing(stage, name, says):
    save(stage, name)
    kept = stage.workspace.rejected / name
    assert kept.read_bytes() == b"label"
    assert says in kept.with_name(f"{name}.txt").read_text()
    assert stage.shot().labels == {"accepted": 0, "train": 0, "gate": 0, "new": 0, "rejected": 0, "asked": 0}


def test_two_labels_at_once_are_both_kept_and_the_latest_counts(stage):
    leave_label_note(stage.workspace, "s00001", {"user": "ana", "tool": "napari"})
    save(stage, "s00001.tif", b"first")
    save(stage, "s00001.nrrd", b"second")
    assert (stage.inbox / "s00001.nrrd").exists(), "it waits for the verdict on the first"
    stage.run()
    stage.now -= 86400  # the clock of the machine is set back a day
    stage.settled(stage.inbox / "s00001.nrrd", INBOX)
    stage.run()
    assert received(stage) == [("accepted", "ana", b"first"), ("accepted", "", b"second")]
    (label,) = stage.store.labels.current()
    assert label.artifact == stage.store.labels.artifact_of(2)
    rows = list(stage.store.labels._db.query("SELECT received_id, superseded_by FROM label ORDER BY id"))
    assert [(r["received_id"], r["superseded_by"]) for r in rows] == [(1, 2), (2, None)]


def test_a_label_for_a_skipped_suggestion_counts_after_all(stage):
    stage.store.annotation.move("s00001", "skipped", "too hard", 1.0)
    save(stage, "s00001.nii.gz")
    stage.run()
    assert stage.store.annotation.suggestion("s00001").state == "accepted"


def test_a_file_that_changed_while_it_was_read_settles_again_with_what_was_said_of_it(tmp_path):
    tries = []

    def script(order):
        if order.stage == "label":
            tries.append(order.params["confirm_empty"])
            if len(tries) == 1:
                order.inputs["file"][0].path.write_bytes(b"whole")  # its writer goes on where the file lies now
                return Finished(order.job_id, order.fence, "failed", "s00001.tif: changed", "source_changed")
        return results(order)

    stage = Stage(tmp_path, script)
    stage.drop("a.tif", b"one")
    stage.run()
    leave_label_note(stage.workspace, "s00001", {"user": "ana", "empty": True})
    save(stage, "s00001.tif", b"who")
    stage.run()
    back = stage.inbox / "s00001.tif"
    assert back.read_bytes() == b"whole"
    assert not list(stage.workspace.rejected.iterdir())
    assert "still being written" in stage.store.labels.received("id = 1")[0].reason
    stage.settled(back, INBOX)
    stage.run()
    assert tries == [True, True]
    assert [r.author for r in stage.store.labels.received("state = 'accepted'")] == ["ana"]
    assert stage.shot().labels["accepted"] == 1
    stage.store.close()


def test_undo_takes_the_published_label_away_and_brings_the_former_one_back(stage):
    published = stage.workspace.labels / "s00001.tif"
    save(stage, "s00001.tif", b"first")
    stage.run()
    first = published.read_bytes()
    save(stage, "s00001.tif", b"second")
    stage.run()
    second = published.read_bytes()
    stage.store.labels.withdraw(stage.store.annotation.suggestion("s00001"), stage.now)
    stage.run()
    assert published.read_bytes() == first
    stage.store.labels.withdraw(stage.store.annotation.suggestion("s00001"), stage.now)
    stage.run()
    assert not published.exists()
    assert (stage.workspace.queue / "s00001").is_dir(), "it is asked about again"
    assert [b for _, _, b in received(stage)] == [b"first", b"second"]
    save(stage, "s00001.tif", b"third")
    stage.run()
    assert published.read_bytes() not in (b"",)
    assert second
    assert stage.shot().labels["accepted"] == 1


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b"\xff\xfe",
        b'{"user": "ana", "work": {"active_s": NaN, "open_s": Infinity}}',
        b'{"user": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"user": "' + b"a" * 100_000 + b'"}',
        b'{"empty": {"a": 1}, "user": null, "tool": 3, "seen": "all"}',
        b'{"user": "\\ud800"}',
    ],
)
def test_a_note_of_nonsense_loses_no_label(stage, note):
    (stage.workspace.commands / "label-s00001.note").write_bytes(note)
    save(stage, "s00001.tif")
    stage.run()
    assert stage.shot().labels["accepted"] == 1
    assert not list(stage.workspace.commands.glob("*.note"))
    assert stage.store.labels.received("1 = 1")[0].author in ("", "ana", "?")


def test_a_label_of_what_was_taken_back_counts_when_it_had_a_folder(stage):
    """Somebody had copied the folder before the daemon took it away."""
    stage.store.annotation.take_back("s00001", "others teach more", stage.now)
    stage.engine.tick()
    assert not (stage.workspace.queue / "s00001").exists()
    assert stage.store.annotation.suggestion("s00001").state == "skipped"
    save(stage, "s00001.tif", b"drawn on a copy")
    stage.run()
    (checked,) = [o for o in stage.executor.orders if o.stage == "label"]
    (package,) = checked.inputs["package"]
    assert package.path.is_dir(), "what it is compared with was kept"
    assert received(stage) == [("accepted", "", b"drawn on a copy")]
    assert (stage.workspace.labels / "s00001.tif").is_file()


def test_what_is_suggested_again_for_the_same_reason_has_its_folder_again(stage):
    """Its folder was made already, and was never made anew: it was "being prepared" for ever, and its label waited with it."""
    stage.store.annotation.take_back("s00001", "others teach more", stage.now)
    stage.run()
    again = stage.store.annotation.suggestion("s00001")
    assert again.state == "open", "nothing else is left to ask about"
    assert (stage.workspace.queue / "s00001").is_dir()
    save(stage, "s00001.tif")
    stage.run()
    assert stage.store.annotation.suggestion("s00001").state == "accepted"


def test_a_label_of_what_was_taken_back_before_it_had_a_folder_is_kept_with_the_reason(play):
    held = {"package"}
    stage = play(hold_while(held), selection={"queue_depth": 1}, training={"pretrain": False})
    stage.drop("a.tif", b"one")
    stage.drop("b.tif", b"two")
    for _ in range(12):
        stage.turn()
    (asked,) = stage.shot().queue
    save(stage, f"{asked.id}.tif", b"drawn on the acquisition itself")
    stage.turn()
    assert (stage.inbox / f"{asked.id}.tif").exists(), "it waits for the folder"
    stage.store.sources.set_gone(bytes(stage.folder / asked.volume), True)
    held.clear()
    stage.restart()
    stage.run()
    stage.settled(stage.inbox / f"{asked.id}.tif", INBOX)
    stage.run()
    kept = stage.workspace.rejected / f"{asked.id}.tif"
    assert kept.read_bytes() == b"drawn on the acquisition itself"
    why = kept.with_name(f"{kept.name}.txt").read_text()
    assert f"{asked.id} was taken out of the queue before its folder was made" in why and why.count("\n") <= 1
    assert received(stage) == [] and "label" not in stage.stages()
    refused = ask(stage, "claim", id=asked.id, user="ana")
    assert refused == (
        False,
        f"{asked.id} was taken out of the queue before its folder was made; another patch takes its place",
    )


def ask(stage, verb: str, **arguments: str) -> tuple[bool, str]:
    command = commands.ask(stage.workspace, verb, arguments)
    stage.turn()
    answer = stage.store.state.command_outcome(command)
    assert answer is not None
    return answer


def hold_while(held: set[str]):
    """Stages in `held` never end."""
    return lambda order, said: hold(*held)(order, said)


def test_a_label_that_is_exchanged_for_a_link_is_not_taken(stage, tmp_path):
    """The scan saw a file; before it is hashed, a link to what only the daemon may read takes its place."""
    (tmp_path / "secret.tif").write_bytes(b"secret")
    path = stage.inbox / "s00001.tif"
    path.write_bytes(b"label")
    found = fingerprint_of(os.fsencode(path))
    assert found is not None
    path.unlink()
    path.symlink_to(tmp_path / "secret.tif")
    stage.engine.handle(Settled(os.fsencode(path), INBOX, found.size, found.to_text(), 0.0))
    stage.run()
    assert received(stage) == []
    assert path.is_symlink()


def test_a_label_whose_check_always_dies_is_kept_and_taken_the_second_time(stage):
    """Nothing was found wrong with it, and that is what is said; the same file is checked when it comes again."""

    def dies(order: Order) -> Finished | dict[str, Any] | None:
        if order.stage == "label":
            return Finished(order.job_id, order.fence, "lost", "the worker died (signal 9)", "transient")
        return results(order)

    stage.executor.script = dies
    save(stage, "s00001.tif")
    for _ in range(6):
        stage.run()
        stage.now += 700
    (reason,) = stage.workspace.rejected.glob("*.txt")
    words = reason.read_text()
    assert "it could not be checked, which says nothing about the label" in words
    assert "into the inbox again under the name s00001.tif (the last time: the worker died (signal 9))" in words

    stage.executor.script = results
    label = reason.with_suffix("")
    label.rename(stage.inbox / "s00001.tif")
    stage.settled(stage.inbox / "s00001.tif", INBOX)
    stage.run()
    assert stage.shot().labels["accepted"] == 1
