"""Text for strangers: secrets always masked, names of acquisitions and people replaced by aliases where that is asked for."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from daemon.secrecy import SECRETS, is_secret

MASKED = "(masked)"
SHORTEST = 4
"""A secret shorter than this is masked where it is set, and not looked for elsewhere: it would be found in every word."""
LONG_WORD = 8
"""A word of alarms.command from this length on may be a token."""
_SECRET = r"(?:webhook|token|secret|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
SECRET_KEY = re.compile(rf"(?:^|[_.\W]){_SECRET}$", re.IGNORECASE)
"""A key, or an environment variable, whose value is a secret: `token`, but not `n_tokens`."""
PLAIN = frozenset(
    (
        *("error", "file", "files", "image", "images", "in", "job", "jobs", "label", "labels", "mask", "masks"),
        *("model", "new", "old", "out", "patch", "raw", "run", "scan", "stack", "test", "volume", "volumes"),
    )
)
"""Words that a message needs: only in a path are they the name of a file or folder."""
_SET = re.compile(rf"(?i)^(.*?(?:{_SECRET}|\bcommand)[\"']?\s*=\s*)(.*)$")
_SAID = re.compile(rf"(?i)({_SECRET}[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]{{6,}}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{8,}")
_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s\"'<>\\]+")
_CLOSES = {'"""': r'"""', "'''": r"'''", "[": r"\]\s*(?:#.*)?$", "{": r"\}\s*(?:#.*)?$"}
_HARMLESS = re.compile(r"(\"\"|''|\[\s*\]|[\"']\$\w+[\"'])\s*(#.*)?")


def secrets_of(raw: Mapping[str, Any], environment: Mapping[str, str]) -> set[str]:
    """Values that a parsed config.toml and the environment hold, and that nobody else is to read."""
    found = {value for name, value in environment.items() if name in SECRETS or SECRET_KEY.search(name)}
    found |= set(_under_secret_keys(raw))
    alarms = raw.get("alarms")
    command = alarms.get("command") if isinstance(alarms, dict) else None
    for word in command[1:] if isinstance(command, list) else ():
        found |= {part for part in re.split(r"\{\w+\}", str(word)) if len(part) >= LONG_WORD}
    return {value for value in found if not value.startswith("$")}


def _under_secret_keys(value: Any, secret: bool = False) -> Iterable[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _under_secret_keys(below, secret or bool(SECRET_KEY.search(key)))
    elif isinstance(value, list):
        for below in value:
            yield from _under_secret_keys(below, secret)
    elif secret and isinstance(value, str):
        yield value


def without_secrets(config: str) -> str:
    """The text of a config.toml, valid or not: the value of every key that may hold a secret, and of `command`, is masked."""
    out: list[str] = []
    closing = ""
    for line in config.splitlines():
        if closing:
            closing = "" if re.search(closing, line) else closing
            continue
        found = _SET.match(line)
        if found is None or _HARMLESS.fullmatch(found[2]):
            out.append(line)
            continue
        out.append(f'{found[1]}"{MASKED}"')
        opened = next((mark for mark in _CLOSES if found[2].startswith(mark)), "")
        if opened and not re.search(_CLOSES[opened], found[2][len(opened) :]):
            closing = _CLOSES[opened]
    return "\n".join(out) + "\n"


class Redaction:
    """Applied to every text that leaves. secrets: their values. names: what is to be replaced -> its alias."""

    def __init__(self, secrets: Iterable[str], names: Mapping[str, str] | None = None) -> None:
        known = {form for s in secrets if len(s) >= SHORTEST for form in (s, json.dumps(s)[1:-1], repr(s)[1:-1])}
        self._secrets = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))) or r"(?!)")
        self._exact: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for name, alias in (names or {}).items():
            for form in _forms(name):
                self._add(form, alias)
        starts: dict[str, set[int]] = {}
        for name in self._names:
            starts.setdefault(name[:2], set()).add(len(name))
        self._lengths = {start: sorted(lengths, reverse=True) for start, lengths in starts.items()}

    def _add(self, name: str, alias: str) -> None:
        """Too short a name, a short number or a plain word is only taken for a name where it stands alone or in a path."""
        self._exact.setdefault(name, alias)
        if len(name) < 2 or name in PLAIN or (name.isdecimal() and len(name) < 5):
            self._names.setdefault(f"/{name}", f"/{alias}")
        else:
            self._names.setdefault(name, alias)

    def text(self, said: str) -> str:
        """A text without secrets, and with aliases in place of names."""
        said = self._secrets.sub(MASKED, said)
        said = _URL.sub(_address, said)
        said = _BEARER.sub(rf"\1\2{MASKED}", said)
        said = _SAID.sub(rf"\1{MASKED}", said)
        return self._exact.get(said) or self._aliased(said)

    def value(self, said: Any) -> Any:
        """A value of JSON, with every text and key in it as `text` gives it."""
        if isinstance(said, str):
            return self.text(said)
        if isinstance(said, Mapping):
            return {
                self.text(str(key)): MASKED
                if below and isinstance(below, str) and SECRET_KEY.search(str(key))
                else self.value(below)
                for key, below in said.items()
            }
        if isinstance(said, (list, tuple, set, frozenset)):
            return [self.value(below) for below in said]
        return said if said is None or isinstance(said, (bool, int, float)) else self.text(str(said))

    def _aliased(self, said: str) -> str:
        if not self._names:
            return said
        out: list[str] = []
        done = at = 0
        while at < len(said):
            name = self._name_at(said, at)
            if name:
                out += [said[done:at], self._names[name]]
                done = at = at + len(name)
            else:
                at += 1
        return "".join([*out, said[done:]])

    def _name_at(self, said: str, at: int) -> str:
        """The longest name that begins here; one that is a plain word has to stand for itself."""
        for length in self._lengths.get(said[at : at + 2], ()):
            name = said[at : at + length]
            if name in self._names and (
                (length > 5 and "." in name) or "/" in name[1:] or (_begins(said, at) and _ends(said, at + length))
            ):
                return name
        return ""


def _forms(name: str) -> set[str]:
    """A name as files, the database, a log and JSON may write it."""
    plain = {name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}
    escaped = {
        name.encode(errors="surrogateescape").decode(errors="backslashreplace"),
        name.encode(errors="surrogateescape").decode(errors="replace"),
    }
    both = plain | escaped
    shown = {"".join(c if c.isprintable() else repr(c)[1:-1] for c in form) for form in both}
    one_line = {
        "".join(c if c.isprintable() else " " if c in "\n\r\t" else repr(c)[1:-1] for c in form) for form in both
    }
    coded = {form for text in both for form in (json.dumps(text)[1:-1], repr(text)[1:-1], ascii(text)[1:-1])}
    return {form for form in both | shown | one_line | coded if form}


def _begins(said: str, at: int) -> bool:
    """Not within a word; after "\\n" as Python writes it, a new word begins."""
    return at == 0 or not said[at - 1].isalnum() or not said[at].isalnum() or said[max(at - 2, 0)] == "\\"


def _ends(said: str, at: int) -> bool:
    return at == len(said) or not said[at].isalnum() or not said[at - 1].isalnum()


def _address(found: re.Match[str]) -> str:
    """An address without what lets one in: its path, question, user and password."""
    try:
        parts = urlsplit(found[0])
        host = f"{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return MASKED
    return f"{parts.scheme}://{host}/{MASKED}" if is_secret(found[0]) or parts.fragment else found[0]
