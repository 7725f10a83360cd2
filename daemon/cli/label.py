"""`alscope label`: hand in a label and hear the verdict; undo, import, export; list what came in."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli import completing
from daemon.cli.groups import Group
from daemon.cli.session import Session, config_option, json_option, pass_session
from daemon.errors import AlscopeError, UsageError

if TYPE_CHECKING:
    from daemon.store.listing import ReceivedView

VERDICT_S = 60.0
POLL_S = 0.2
USES = {"train": "training", "gate": "held out", "repeat": "second opinion"}


class LabelRejectedError(AlscopeError):
    """The label failed its checks; the reason says what to mend."""

    exit_code = 65


@click.group("label", cls=Group)
def label_group() -> None:
    """Hand in labels, and see what became of them.

    \b
    Example:
      alscope label add my_label.tif --for s00004
      alscope label import truth.nii.gz --volume stack_03.tif
      alscope label export labels_of_today
      alscope label undo s00004
      alscope label list
    """


@label_group.command("add", short_help="Hand in a file as the label of a suggestion.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--for",
    "suggestion_id",
    metavar="ID",
    required=True,
    help="The suggestion that the label answers.",
    shell_complete=completing.waiting,
)
@click.option("--empty", is_flag=True, help="There is really nothing to label in this patch.")
@click.option("--user", default="", help="Who drew it [default: nobody is named].")
@click.option(
    "--seen-slices",
    metavar="A-B",
    help="Only these slices of the patch were looked at, counted from 0, both included; the others count nowhere [default: all].",
)
@click.option(
    "--roi",
    metavar="BOX",
    help="Only this box was looked at: slices, rows and columns, as in 0-7,20-99,0-63 [default: all of the patch].",
)
@click.option(
    "--seen",
    metavar="MASK",
    type=click.Path(path_type=Path),
    help="Only what is not 0 in this mask was looked at, a file of the same kinds and size as FILE [default: all was].",
)
@click.option("--wait/--no-wait", default=True, help="Wait for the verdict [default], or not.")
@json_option
@config_option
@pass_session
def add_command(
    session: Session,
    file: Path,
    suggestion_id: str,
    empty: bool,
    user: str,
    seen_slices: str | None,
    roi: str | None,
    seen: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Hand in FILE, a TIFF, NRRD or NIfTI with one number per object (0 = background), as the label of a suggestion.

    It has the size of image.tif, or of the patch in it. Voxels with the value annotation.not_looked_at, or outside of what
    --seen-slices, --roi or --seen name, count neither in training nor in scores. Files are copied; that has the same effect as
    saving them as <workspace>/inbox/ID.tif (or .nrrd, .nii.gz, ...) and, before it, MASK as ID.seen.tif. Exit codes: 0 accepted,
    or kept to be checked; 65 rejected, with the reason.

    \b
    Example:
      alscope label add my_label.tif --for s00004 --user ana
      alscope label add blank.tif --for s00005 --empty
      alscope label add half_done.nii.gz --for s00006 --seen-slices 0-15
      alscope label add cells.tif --for s00007 --seen region_i_looked_at.tif
    """
    from daemon.cli import inbox
    from daemon.cli.output import print_json, say
    from daemon.cli.queue import find
    from daemon.look import reading
    from daemon.store.listing import newest_received
    from daemon.workspace import read_holder

    suggestion = find(session, suggestion_id)
    with reading(session.workspace.root) as db:
        before = newest_received(db)
    digest = inbox.put(session, file, suggestion.id, {"empty": empty, "user": user} | _seen(seen_slices, roi), seen)
    if read_holder(session.workspace.lock_file) is None:
        state, words = "kept", "the daemon is not running: kept in the inbox; it is checked when the daemon starts"
    elif not wait:
        state, words = "kept", "in the inbox; `alscope label list` tells what became of it"
    else:
        state, words = _verdict(session, suggestion.id, before, digest)
    if as_json:
        print_json({"suggestion": suggestion.id, "state": state, "message": words})
    if state == "rejected":
        raise LabelRejectedError(words)
    if not as_json:
        say(f"{suggestion.id}: {words}")


def _seen(slices: str | None, roi: str | None) -> dict[str, Any]:
    """The part that was looked at, as a note says it. Raises UsageError."""
    if slices is None and roi is None:
        return {}
    if slices is not None and roi is not None:
        raise UsageError("give --seen-slices or --roi, not both")
    spans = [re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part) for part in (slices or roi or "").split(",")]
    found = [[int(m[1]), int(m[2] or m[1])] for m in spans if m is not None]
    if len(found) != (1 if slices is not None else 3) or len(found) != len(spans):
        option, example = ("--seen-slices", "0-15") if slices is not None else ("--roi", "0-7,20-99,0-63")
        raise UsageError(f"{option} {slices or roi!r}: first and last, counted from 0, as in {example}")
    return {"seen": {"z": found[0]} if slices is not None else {"box": found}}


def _verdict(session: Session, suggestion_id: str, before: int, digest: str) -> tuple[str, str]:
    """(state, words): accepted, rejected, or kept when there is no verdict in time."""
    from daemon.cli import inbox

    until = time.monotonic() + VERDICT_S
    while time.monotonic() < until:
        found = inbox.verdict(session, suggestion_id, before, digest)
        if found is not None:
            return found
        time.sleep(POLL_S)
    return "kept", f"not checked within {VERDICT_S:.0f} s; it is kept, and `alscope label list` tells what became of it"


@label_group.command("undo", short_help="Withdraw the newest label of a suggestion.")
@click.argument("suggestion_id", metavar="ID", shell_complete=completing.labelled)
@config_option
@pass_session
def undo_command(session: Session, suggestion_id: str) -> None:
    """Withdraw the newest label of a suggestion: the one before it counts again, or the patch is asked about again.

    Nothing is deleted: `alscope label list` goes on showing it, and a round that used it keeps it in its history.

    \b
    Example:
      alscope label undo s00004
    """
    from daemon.cli.asking import ask_and_wait
    from daemon.cli.output import say
    from daemon.cli.queue import find

    say(ask_and_wait(session, "undo-label", {"id": find(session, suggestion_id).id}))


@label_group.command("import", short_help="Turn a mask of a whole volume into labels of its patches.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--volume",
    metavar="NAME",
    required=True,
    help="The volume that it is the truth of (`alscope volumes`).",
    shell_complete=completing.volumes,
)
@click.option("--user", default="", help="Who drew it [default: nobody is named].")
@click.option("--skip-empty", is_flag=True, help="Patches without any object were not labelled [default: hold none].")
@click.option(
    "--replace", is_flag=True, help="Also in place of labels that are there already; these are kept in the history."
)
@click.option("--wait/--no-wait", default=True, help="Wait until it is done [default], or not.")
@json_option
@config_option
@pass_session
def import_command(
    session: Session, path: Path, volume: str, user: str, skip_empty: bool, replace: bool, wait: bool, as_json: bool
) -> None:
    """Cut PATH, a mask of a whole volume, into its patches, and take each as a label. Importing it again changes nothing.

    PATH is a TIFF, NRRD, NIfTI, OME-Zarr, HDF5 or MRC of the size of the volume, a folder of slices, or a folder with such files
    of several volumes: there the one that is called after the volume is taken (stack_03_labels.tif). Labels that are there
    already are left alone. Exit code 65: it cannot be used, with the reason; 69: the daemon is not running.

    \b
    Example:
      alscope label import truth.tif --volume stack_03.tif --user ana
      alscope label import all_truths --volume stack_03.tif
    """
    from daemon.cli.label_import import import_truth
    from daemon.cli.output import print_json, say

    state, words = import_truth(session, path, volume, user, skip_empty, replace, wait)
    if as_json:
        print_json({"volume": volume, "state": state, "message": words})
    else:
        say(words)


@label_group.command("export", short_help="Write every label that counts to a folder.")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@config_option
@pass_session
def export_command(session: Session, folder: Path, as_json: bool) -> None:
    """Write every label that counts to FOLDER: <suggestion>_label.tif and _image.tif, with manifest.csv and manifest.json.

    The daemon need not run. A folder that an export made before is brought up to date.

    \b
    Example:
      alscope label export labels_of_today
    """
    from daemon.cli.label_export import export
    from daemon.cli.output import print_json, say
    from daemon.wording import count, short_path

    rows = export(session, folder)
    if as_json:
        print_json(rows)
    else:
        say(f"{count(len(rows), 'label')} in {short_path(folder.absolute())}, with manifest.csv and manifest.json")


@label_group.command("list", short_help="Every label that came in, with the verdict.")
@json_option
@config_option
@pass_session
def list_command(session: Session, as_json: bool) -> None:
    """Every label that came in, newest first, with the verdict.

    \b
    Example:
      alscope label list
    """
    from rich.text import Text

    from daemon.cli.output import print_json, say, table
    from daemon.look import reading
    from daemon.store.listing import received
    from daemon.wording import clock
    from daemon.wording_state import glyph

    with reading(session.workspace.root) as db:
        found = received(db)
    if as_json:
        print_json([asdict(label) for label in found])
        return
    if not found:
        say("no label has come in yet; `alscope queue` shows what to label")
        return
    now = time.time()
    rows = [
        [
            clock(label.received_at, now),
            label.suggestion,
            label.volume,
            Text.assemble(glyph(label.state), label.state),
            _use(label),
            "" if label.n_objects is None else str(label.n_objects),
            "" if label.minutes is None else f"{label.minutes:.1f}",
            label.author,
            label.reason or "; ".join(label.warnings),
        ]
        for label in found
    ]
    table(
        ["when", "for", "volume", "state", "use", ">objects", ">min", "by", "remarks"],
        rows,
        flexible=("volume", "remarks"),
    )


def _use(label: ReceivedView) -> str:
    """What becomes of a label."""
    if label.role is None:
        return ""
    words = "withdrawn" if label.withdrawn else USES[label.role] if label.current else "superseded"
    return words if label.seen == 1 else f"{words}, {label.seen:.0%} of it"
