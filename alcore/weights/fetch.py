"""Download weights: with progress, continued after an interruption, checked before they get their name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol

from alcore.artifact import fsync_dir
from alcore.disk import full_words, no_space
from alcore.errors import DiskFullError, PermanentError, TransientError, install_line
from alcore.weights.catalogue import CATALOGUE, Entry, WeightFile

BLOCK = 1 << 20
TIMEOUT_S = 60.0
SPARE_BYTES = 64 << 20
"""Room that stays free on the disk."""
Report = Callable[[str, int, int], None]
"""Called with (file name, bytes that are here, bytes in all or 0 where unknown)."""


class Hash(Protocol):
    """What hashlib and xxhash have in common."""

    def update(self, data: bytes) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The digest so far."""


def fetch(entry: Entry, folder: Path, report: Report, token: str | None = None) -> list[Path]:
    """Everything of `entry` in `folder`; what is there already is not fetched again, a part of it is continued.

    Returns the files that its backend loads. Raises PermanentError for a key that is missing or refused, a file that is not
    there, or one whose checksum is another; TransientError for a network that fails, DiskFullError; then the part stays.
    """
    if entry.token and not token:
        raise PermanentError(
            f"{entry.name} needs a key: make one at https://users.deepcell.org and set {entry.token} to it; {entry.licence}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    used = [folder / name for name in entry.used]
    if entry.unpacked and all(f.is_file() for f in used):
        return used
    for file in entry.files:
        _one(file, folder, report, token)
        if entry.unpacked:
            _unpack(folder / file.name, folder)
    return used


def _one(file: WeightFile, folder: Path, report: Report, token: str | None) -> None:
    """One file, under its name only once its checksum is right."""
    final, part = folder / file.name, folder / f"{file.name}.part"
    if final.is_file() and checksum(final, file.checksum) == file.checksum:
        return
    url = _signed(file, token) if token else file.url
    try:
        _download(url, part, file.name, report)
    except OSError as e:
        if no_space(e):
            raise DiskFullError(full_words(folder)) from e
        raise TransientError(f"{file.name}: {_why(e)}; run it again to continue") from e
    except HTTPException as e:
        raise TransientError(f"{file.name}: {_why(e)}; run it again to continue") from e
    found = checksum(part, file.checksum)
    if found != file.checksum:
        part.unlink()
        raise PermanentError(
            f"{file.name}: its checksum is {found}, not {file.checksum}, and it was deleted: run it again; if that does not "
            "help, what is published has changed, or something on the way changes it"
        )
    os.replace(part, final)
    fsync_dir(folder)


def _download(url: str, part: Path, name: str, report: Report) -> None:
    """Bring `part` to its full length, from where it ends."""
    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 416 and have:  # nothing beyond what is here, or another file: its checksum will tell
                return
            raise _refused(name, e.code) from e
    with answer:
        if answer.status != 206:
            have = 0
        left = int(answer.headers.get("Content-Length") or 0)
        if left and shutil.disk_usage(part.parent).free < left + SPARE_BYTES:
            raise DiskFullError(f"{name} needs {left / 1e6:.0f} MB more: {full_words(part.parent)}")
        total = have + left if left else 0
        with open(part, "r+b" if have else "wb") as out:
            out.seek(have)
            out.truncate()
            while block := answer.read(BLOCK):
                out.write(block)
                have += len(block)
                report(name, have, total)
            out.flush()
            os.fsync(out.fileno())
    if total and have < total:
        raise ConnectionError(f"the connection ended after {have / 1e6:.1f} of {total / 1e6:.1f} MB")


def _open(url: str, headers: dict[str, str], data: bytes | None = None, key: str = "") -> HTTPResponse:
    request = urllib.request.Request(url, data=data, headers={"User-Agent": "alscope", **headers})
    if key:  # for the address that it was made for, and for no other
        request.add_unredirected_header("X-Api-Key", key)
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    return answer


def _signed(file: WeightFile, token: str) -> str:
    """The address that the publisher hands out for one download: what deepcell.org wants a key for."""
    place, _, query = file.url.partition("?")
    try:
        with _open(place, {}, query.encode(), token) as answer:
            return str(json.loads(answer.read())["url"])
    except urllib.error.HTTPError as e:
        with e:
            raise _refused(file.name, e.code) from e
    except (OSError, ValueError, KeyError) as e:
        raise TransientError(f"{file.name}: {place} gave no address ({_why(e)}); try again later") from e


def _refused(name: str, code: int) -> PermanentError | TransientError:
    if code in (401, 403):
        return PermanentError(f"{name}: the server refuses the key ({code}): it may have expired, make a new one")
    if code in (404, 410):
        return PermanentError(f"{name}: the server has no such file any more ({code}); get the weights elsewhere")
    return TransientError(f"{name}: the server answers {code}; try again later")


def _unpack(archive: Path, folder: Path) -> None:
    """Take the weights of the catalogue out of an archive, which is deleted afterwards. Its paths are not trusted."""
    wanted = {Path(e.unpacked).name for e in CATALOGUE.values() if archive.name in {f.name for f in e.files}}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if member.isfile() and name in wanted else None
                if content is not None:
                    with content, open(folder / f"{name}.part", "wb") as out:
                        shutil.copyfileobj(content, out, BLOCK)
                        out.flush()
                        os.fsync(out.fileno())
                    os.replace(folder / f"{name}.part", folder / name)
    except OSError as e:
        if no_space(e):
            raise DiskFullError(full_words(folder)) from e
        raise
    except tarfile.TarError as e:
        raise PermanentError(f"{archive}: cannot be unpacked ({e})") from e
    archive.unlink()


def checksum(path: Path, like: str) -> str:
    """Checksum of a file in the notation of the catalogue, by the algorithm of `like`."""
    algorithm = like.partition(":")[0]
    hashed = _hash(algorithm)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return f"{algorithm}:{hashed.hexdigest()}"


def _hash(algorithm: str) -> Hash:
    if algorithm != "xxh128":
        return hashlib.new(algorithm, usedforsecurity=False)
    try:
        import xxhash
    except ImportError as e:
        raise PermanentError(f"checking these weights needs xxhash: {install_line('micro-sam')}") from e
    made: Hash = xxhash.xxh128()
    return made


def _why(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
