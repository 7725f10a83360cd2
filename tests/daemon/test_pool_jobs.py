"""Jobs on the whole pool leave little behind, and those that cannot go on do not complain for ever."""

from __future__ import annotations

import json
from typing import Any

from daemon.executors.port import Finished, Order
from tests.daemon.selection_play import jobs


def test_jobs_on_the_whole_pool_leave_little_behind(play):
    stage = play()
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    for name in ("encoder", "suggestions", "novelty"):
        found = jobs(stage, name)
        assert found
        for job in found:
            assert job.state == "done"
            assert job.inputs == {}
            assert any(key.startswith("inputs.") for key in job.params["forgotten"])
    assert stage.shot().volumes["indexed"] == 3
    assert json.dumps(stage.shot().to_json())


def test_a_job_that_waits_for_a_file_that_is_gone_is_no_problem_for_ever(play):
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "pseudo":
            return Finished(order.job_id, order.fence, "failed", "a.tif: is not there now", "source_missing")
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    for _ in range(6):
        stage.turn()
    retry = lambda: [p for p in stage.shot().problems if p.kind == "retry"]  # noqa: E731
    assert len(retry()) == 1  # it may be there again in a moment
    stage.store.sources.set_gone(bytes(stage.folder / "a.tif"), True)
    stage.turn()
    assert retry() == []
