"""Pages in the workspace: written with the job, planned anew where somebody removed one, cleared when nobody needs them."""

from __future__ import annotations

import os
from pathlib import Path

from daemon.pages import KEPT_S, PageKeeper
from daemon.tidying import EVERY_S
from tests.daemon.play import answer_all
from tests.pages import rows_of


def there(stage) -> set[str]:
    return {path.name for path in stage.workspace.artifacts.root.glob("*/page-*")}


def test_a_list_that_was_removed_is_written_again_with_a_new_job(play):
    stage = play(encoder={"size": "descriptor"})
    stage.executor.slots = {False: 100, True: 100}
    stage.drop("a.tif", b"one")
    held = {"suggestions"}
    free = stage.executor.free
    stage.executor.free = lambda long, name: name not in held and free(long, name)
    for _ in range(12):
        stage.turn()
    (waiting,) = [job for job in stage.store.jobs.ready(9) if job.stage == "suggestions"]
    for item in waiting.inputs["page"]:
        stage.workspace.artifacts.discard(item.key)
    held.clear()
    stage.run()
    assert "it is planned anew" in str(stage.store.jobs.story(waiting.id))
    (order,) = [o for o in stage.executor.orders if o.stage == "suggestions"]
    assert len(rows_of(order)) == 1 and len(stage.shot().queue) == 4


def test_lists_go_when_nobody_needs_them(play):
    stage = play(encoder={"size": "descriptor"})
    for name in ("a.tif", "b.tif"):
        stage.drop(name, name.encode())
        stage.run()
        answer_all(stage)
        stage.run()
    before = there(stage)
    assert len(before) >= 3  # of one volume, of two; of vectors alone
    tidying = stage.engine.tidying
    for path in stage.workspace.artifacts.root.glob("*/page-*"):
        os.utime(path, (stage.now - KEPT_S - 1, stage.now - KEPT_S - 1))
    newest = [o for o in stage.executor.orders if o.stage == "suggestions"][-1].inputs["page"][0]
    stage.store._db.execute(
        "UPDATE job SET state = 'ready', inputs = ? WHERE stage = 'suggestions'",
        [f'{{"page": [{{"path": "{newest.path}", "key": "{newest.key}"}}]}}'],
    )
    tidying.seen = 0.0
    tidying.run(stage.now + EVERY_S)
    assert there(stage) == {newest.key}


def test_a_list_that_is_used_again_is_not_cleared_and_names_what_is_needed(tmp_path: Path):
    from alcore import pages
    from alcore.artifact import ArtifactStore

    keeper = PageKeeper(ArtifactStore(tmp_path))
    wanted = pages.paged([(1, {"embedding": "embedding-a", "volume": "volume-b/0001"})])
    keeper.write(wanted)
    (key,) = wanted
    os.utime(keeper.artifacts.path(key), (1.0, 1.0))
    assert keeper.outdated((), 100.0) == [key] and keeper.outdated([key], 100.0) == []
    keeper.write(wanted)
    assert keeper.outdated((), 100.0) == []
    assert keeper.named([key, "predict-c"]) == {key, "predict-c", "embedding-a", "volume-b"}
    assert keeper.named(["page-that-is-gone"]) == {"page-that-is-gone"}
