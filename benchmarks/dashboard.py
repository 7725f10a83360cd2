"""One frame of the dashboard with 10,000 volumes and 500 queued patches. `python -m benchmarks.dashboard`.

A frame is what happens twice a second: the workspace is looked at as the live view does it, the page is laid out, and the terminal is
written to (a file takes its place). Before every frame another connection commits, so that all of the database is read, as it is
when the daemon has just written; what nobody changed is not read again, which has a row of its own. The workspace is made through
the store, without images; its problems are 200 files set aside and 50 labels to mend.
Takes about two minutes, most of it to make the workspace.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.live import Live

from benchmarks.table import Row, show
from daemon.dashboard import render
from daemon.look import Looker, look
from daemon.status import status
from daemon.store.views import Snapshot
from daemon.view import PAGES, View
from daemon.vitals import Vitals
from tests.daemon.pool import Pool, fingerprint

LIMIT_MS = 50.0
SIZES = ((80, 24), (200, 60))
VITALS = Vitals(34.0, 5.1, 15.6, 120.0, "none")


def troubled(pool: Pool, n_aside: int, n_rejected: int) -> None:
    """Files that cannot be used and labels that must be mended; there is always something."""
    n = pool.store.volumes.n_volumes()
    pool.settled(n, n_aside)
    with pool.store.transaction():
        for number in range(n, n + n_aside):
            source = pool.store.sources.at(bytes(pool.folder / f"stack_{number:05d}.tif"))
            assert source is not None
            reason = f"stack_{number:05d}.tif: 6 of 10 planes are there; the file is truncated: copy it again"
            pool.store.sources.set_aside(source, fingerprint(number), reason, pool.now)
        for row in look(pool.workspace.root, pool.now).queue[:n_rejected]:
            asked = pool.store.annotation.suggestion(row.id)
            assert asked is not None
            inbox = bytes(pool.workspace.inbox / f"{row.id}.tif")
            made = pool.store.labels.receive(asked, inbox, row.id, {"user": "ana"}, pool.now)
            (received,) = pool.store.labels.received("id = ?", [made])
            pool.store.labels.reject(
                received, f"{row.id}.tif: shape (32, 200, 256), but the patch is 32x256x256", pool.now
            )


def median_ms(
    call: Callable[[], object],
    n: int,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[], object] = lambda: None,
) -> float:
    """Median of n calls, in milliseconds, after one that is not counted. before: is done before each, and not timed."""
    call()
    took = []
    for _ in range(n):
        before()
        begin = clock()
        call()
        took.append(1000 * (clock() - begin))
    return statistics.median(took)


def frame(
    pool: Pool,
    page: str,
    width: int,
    height: int,
    snapshot: Snapshot | None,
    n: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Milliseconds of a frame as the live view makes it when the daemon has just written; with a snapshot only of drawing it again
    (after a key)."""
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    looker = Looker(pool.workspace.root)
    with contextlib.closing(looker), Live(console=console, screen=True, auto_refresh=False) as live:

        def once() -> None:
            shown = snapshot or looker.look(time.time())
            live.update(render(shown, width, height, View(page=page), VITALS), refresh=True)

        return median_ms(once, n, clock, lambda: pool.store.state.seen(time.time(), ""))


def reading(pool: Pool, n: int, changed: bool) -> float:
    """Milliseconds of processor time of looking again, when another connection has committed since, or when none has."""
    with contextlib.closing(Looker(pool.workspace.root)) as looker:
        write = (lambda: pool.store.state.seen(time.time(), "")) if changed else (lambda: None)
        return median_ms(lambda: looker.look(time.time()), n, time.process_time, write)


def main() -> int:
    """Print the table; exit status 0 when every limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=10_000)
    parser.add_argument("--queued", type=int, default=500)
    parser.add_argument("--frames", type=int, default=20)
    chosen = parser.parse_args()
    options = {"selection": {"queue_depth": chosen.queued}}
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Pool(Path(folder), **options)) as pool:
        pool.at_rest(chosen.volumes)
        troubled(pool, 200, 50)
        pool.store.checkpoint()
        root = pool.workspace.root
        snapshot = look(root, time.time())
        assert len(snapshot.queue) == chosen.queued
        rows = [
            Row(f"{page}, {width}x{height}", frame(pool, page, width, height, None, chosen.frames), "ms", LIMIT_MS)
            for page in PAGES
            for width, height in SIZES
        ]
        busy = frame(pool, "overview", 200, 60, None, chosen.frames, time.process_time)
        rows.append(Row("overview, 200x60, processor time", busy, "ms", LIMIT_MS))
        once = median_ms(lambda: look(root, time.time()), chosen.frames, time.process_time)
        rows.append(Row("reading the database once, processor time", once, "ms"))
        rows.append(Row("the same, open, after a commit, processor time", reading(pool, chosen.frames, True), "ms"))
        rows.append(Row("the same, open, nothing changed, processor time", reading(pool, chosen.frames, False), "ms"))
        rows.append(Row("queue, 200x60, drawn again", frame(pool, "queue", 200, 60, snapshot, chosen.frames), "ms"))
        rows.append(Row("`alscope status`, in words", median_ms(lambda: status(snapshot, root, 80), 20), "ms"))
    return show(f"One frame, {chosen.volumes} volumes, {chosen.queued} queued", rows)


if __name__ == "__main__":
    sys.exit(main())
