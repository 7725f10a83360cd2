"""`alscope queue show`: one suggestion with everything that is known of it."""

from __future__ import annotations

from dataclasses import asdict

from daemon.cli.output import print_json, say
from daemon.look import reading
from daemon.store.claim_listing import held
from daemon.store.queue_listing import SuggestionView
from daemon.wording import ARM_WORDS, clean, extent, place, why_lines
from daemon.wording_state import glyph
from daemon.workspace import Workspace

HEADING = 10


def show(workspace: Workspace, found: SuggestionView, as_json: bool) -> None:
    """Print where it is, why it was chosen, what is like it, and where its files are."""
    folder = workspace.queue / found.id
    files = sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []
    pictures = [str(folder / f"nearest_{n.number}.png") for n in found.neighbours]
    inbox = workspace.inbox / f"{found.id}.tif"
    with reading(workspace.root) as db:
        holder = held(db, found.id)
    if as_json:
        neighbours = [
            asdict(n) | {"picture": picture if picture in files else None}
            for n, picture in zip(found.neighbours, pictures, strict=True)
        ]
        print_json(
            {
                **asdict(found),
                "neighbours": neighbours,
                "folder": str(folder) if files else None,
                "files": files,
                "save_label_as": str(inbox),
                "user": holder.user if holder else "",
            }
        )
        return
    say((f"{found.id}  ", "bold"), glyph(found.state), found.state, *([f": {found.note}"] if found.note else []))
    if holder is not None:
        _line(
            "with",
            f"{clean(holder.user)}, for about {max(1, round(holder.left_s / 60))} more min unless they go on working",
        )
    _line("where", f"{found.volume} at {place(found.start)}, {extent(found.shape)} voxels (z, y, x)")
    _line("why", found.reason)
    if found.arm in ARM_WORDS:
        _line("", ARM_WORDS[found.arm])
    for word, meaning in _numbers(found):
        _line("", f"{word:<15}{meaning}")
    for number, (neighbour, picture) in enumerate(zip(found.neighbours, pictures, strict=True)):
        at = f"{neighbour.suggestion} in {neighbour.volume} at {place(neighbour.start)}, distance {neighbour.distance:.3f}"
        _line("" if number else "like it", at)
        if picture in files:
            _line("", picture)
    for number, path in enumerate(files):
        _line("" if number else "files", path)
    if not files:
        answered = found.state in ("accepted", "skipped")
        _line("files", "taken out of the queue" if answered else "being prepared")
    _line("save as", str(inbox))


def _numbers(found: SuggestionView) -> list[tuple[str, str]]:
    if found.distance is None:
        return why_lines(found.why)
    which = f" to {found.nearest}" if found.nearest else ", to one chosen with it"
    return [("novelty", f"cosine distance {found.distance:.3f}{which}"), *why_lines(found.why)]


def _line(heading: str, text: str) -> None:
    say(heading.ljust(HEADING), text)
