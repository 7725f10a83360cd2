"""Has somebody begun with a suggestion without saying so? Looked for in the workspace's folders."""

from __future__ import annotations

from daemon.workspace import Workspace


def touched(workspace: Workspace, suggestion_id: str) -> bool:
    """Is there a draft of it, a label in the inbox, or was a file in its folder read or added since it was put there?

    Reading shows in the time of access, which most file systems keep for the first reading after a change (relatime); on one that
    does not (noatime), only drafts, labels and claims tell.
    """
    if (workspace.root / "drafts" / suggestion_id).exists() or any(workspace.inbox.glob(f"{suggestion_id}.*")):
        return True
    folder = workspace.queue / suggestion_id
    if not folder.is_dir():
        return False
    begun = folder.stat().st_mtime_ns  # of the last file that was put into it
    for path in folder.iterdir():
        about = path.stat()
        if about.st_atime_ns > max(about.st_ctime_ns, begun):
            return True
    return False
