"""The queue put in order anew: only what nobody has changes places, and only with its like."""

from __future__ import annotations

from contextlib import closing

import pytest

from daemon.store.connection import DATABASE, open_reader
from daemon.store.queue_listing import suggestion
from daemon.store.report import snapshot
from daemon.store.rows import Picked, Ranked
from tests.daemon.store.claim_desk import ask, filled, given

N = 6


@pytest.fixture
def engine(tmp_path):
    made = filled(tmp_path, N)
    yield made
    made.store.close()


def ranks(engine) -> dict[str, int]:
    return {r["id"]: r["rank"] for r in engine.store.claims._db.query("SELECT id, rank FROM suggestion")}


def reversed_order(engine, **more) -> list[Ranked]:
    volume = engine.store.annotation.suggestion("s00001").patch.volume_id
    return [Ranked(volume, row, more.get("distance", 0.25), (volume, 0)) for row in reversed(range(N))]


def test_the_order_that_is_wanted_is_the_order_in_which_people_get_them(engine):
    assert engine.store.selection.queue() == [(1, row) for row in range(N)]
    assert engine.store.annotation.rerank(reversed_order(engine)) == N
    assert engine.store.selection.queue() == [(1, row) for row in reversed(range(N))]
    assert engine.store.annotation.rerank(reversed_order(engine)) == 0
    assert given(engine, "ana") == {"id": "s00006"}
    assert given(engine, "ben") == {"id": "s00005"}
    first = engine.store.annotation.suggestion("s00006")
    assert (first.rank, first.distance) == (1, 0.25)
    (row,) = engine.store.claims._db.query("SELECT nearest FROM suggestion WHERE id = 's00006'")
    assert row["nearest"] == engine.store.annotation.suggestion("s00001").patch.id


def test_what_somebody_has_or_answered_and_what_chance_chose_stay_where_they_are(engine):
    given(engine, "ana", id="s00001")
    ask(engine, "skip", id="s00003", user="ben", kind="too hard")
    db = engine.store.claims._db
    db.execute("UPDATE suggestion SET arm = 'control' WHERE id = 's00005'")
    before = {r["id"]: dict(r) for r in db.query("SELECT * FROM suggestion")}
    assert engine.store.annotation.rerank(reversed_order(engine)) == 2
    after = {r["id"]: dict(r) for r in db.query("SELECT * FROM suggestion")}
    for name in ("s00001", "s00003", "s00005"):
        assert after[name] == before[name]
    assert ranks(engine) == {"s00001": 1, "s00006": 2, "s00003": 3, "s00004": 4, "s00005": 5, "s00002": 6}


def test_a_distance_that_is_not_known_any_more_leaves_the_one_that_was(engine):
    engine.store.annotation.rerank([Ranked(1, 3, None, None)])
    assert engine.store.annotation.suggestion("s00004").distance == 0.5


def test_names_are_never_given_twice_however_ranks_have_moved(engine):
    engine.store.annotation.rerank(reversed_order(engine))
    ask(engine, "skip", id="s00001", user="ana", kind="too hard")  # it has the last rank now
    assert engine.store.annotation.suggest([Picked(1, 0, 0.5, "again")], 9.0) == []
    assert max(ranks(engine).values()) == N


def test_people_are_told_the_place_in_the_queue_not_the_number_behind_it(engine, tmp_path):
    ask(engine, "skip", id="s00002", user="ana", kind="too hard")
    engine.store.annotation.rerank(reversed_order(engine))
    shot = snapshot(tmp_path, 10.0)
    assert [(q.rank, q.id) for q in shot.queue] == [
        (n, name) for n, name in enumerate(("s00006", "s00005", "s00004", "s00003", "s00001"), 1)
    ]
    with closing(open_reader(tmp_path / DATABASE)) as db:
        assert [suggestion(db, name).rank for name in ("s00006", "s00001", "s00002")] == [1, 5, None]
