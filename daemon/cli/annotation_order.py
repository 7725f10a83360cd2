"""What the annotation window is told of a patch: where its files are, and the words beside the image."""

from __future__ import annotations

from collections.abc import Sequence

from alcore.annotate.draft_files import own_folder, to_begin_with
from alcore.annotate.order import Order, Weights
from alcore.annotate.weights import find_weights
from daemon.cli.claiming import progress_today
from daemon.cli.queue import find
from daemon.cli.session import Session
from daemon.device import device
from daemon.errors import WorkspaceError
from daemon.look import reading
from daemon.pseudo_choice import weights_folder
from daemon.sam_cache import cache_of
from daemon.store.queue_listing import SuggestionView
from daemon.store.schema_claims import SKIP_REASONS
from daemon.wording import ARM_WORDS, extent, place

PLAIN = "asked for with --plain"


def order_for(
    session: Session, suggestion_id: str, user: str, plain: bool, goes_on: bool, news: Sequence[str]
) -> Order:
    """The order for one window. Raises WorkspaceError when the patch has no folder yet."""
    workspace, found = session.workspace, find(session, suggestion_id)
    folder = workspace.queue / suggestion_id
    if not (folder / "image.tif").is_file():
        raise WorkspaceError(f"{folder}: the patch is still being prepared, or was taken out of the queue; try again")
    drafts = workspace.drafts / suggestion_id
    weights, why = (None, PLAIN) if plain else weights_of(session)
    return Order(
        suggestion=suggestion_id,
        folder=str(folder),
        work=str(own_folder(drafts, user)),
        user=user,
        weights=weights,
        why_plain=why,
        embeddings=str(cache_of(workspace, _package(session, suggestion_id))),
        device=device(session.settings.run),
        facts=tuple(_facts(found)),
        progress=(str(progress_today(session, user)["words"]),),
        news=tuple(news),
        reasons=SKIP_REASONS,
        goes_on=goes_on,
        drafts=tuple(str(found) for found in to_begin_with(drafts, user)),
    )


def weights_of(session: Session) -> tuple[Weights | None, str]:
    """What config.toml asks for, or why there is nothing (see `find_weights`)."""
    settings = session.settings
    return find_weights(settings.annotation.model, weights_folder(settings.pseudo))


def _package(session: Session, suggestion_id: str) -> str:
    with reading(session.workspace.root) as db:
        row = db.execute("SELECT package FROM suggestion WHERE id = ?", [suggestion_id]).fetchone()
    return str(row["package"] or "")


def _facts(found: SuggestionView) -> list[tuple[str, str]]:
    facts = [
        ("where", f"{found.volume}, {place(found.start)}"),
        ("size", f"{extent(found.shape)} voxels (z, y, x)"),
        ("why", found.reason),
    ]
    if found.arm in ARM_WORDS:
        facts.append(("", ARM_WORDS[found.arm]))
    if found.distance is not None:
        facts.append(("novelty", f"{found.distance:.3f} from what was asked before"))
    if "minutes" in found.why:
        facts.append(("time", f"about {max(1, round(found.why['minutes']))} min"))
    return facts
