"""Messages of the readers, which name a config.toml, in the words of a command that has none: what to add to it, or to save."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from alcore.errors import PermanentError

ONE = "simulate plays on one volume with one channel: save the labelled one as a file of its own"
AXES = "if they are slices, add --axes ZYX; otherwise save the labelled one as a file of its own"
OF_IMAGES = (
    (r'[Ss]et axes = ("[A-Z]+",? ?(or )?)+ for its watched folder in config\.toml', AXES),
    (r'[Ss]et axes, such as "[A-Z]+", for its watched folder in config\.toml', ONE),
    (r'axes = "([A-Z]*)" of its watched folder names', r"--axes \1 names"),
    (r"read option axes: '([^']*)' is no order of C, T, Z ending in YX", r"--axes \1 is no order of Z, Y, X"),
    (r"[;:,.]? ?correct it in config\.toml", r"; correct --axes"),
    (r"(, each a volume of its own)?: say which \(read option \w+\)", f"; {ONE}"),
    (r"set dataset (for its watched folder|to one of)", "save the labelled one as a file of its own"),
    (r'set rgb = "luminance" for its watched folder', "save it as grey values"),
    (r"set `?channels`? of its watched folder to [a-z ]+ that are there", ONE),
    (r"leave it out with read option channels", ONE),
    (r"set sparse = true for its watched folder if its writer leaves out empty (chunk|shard)s", "save it as a TIFF"),
)
"""(what readers say, what is said here), of images."""
OF_LABELS = (
    (r'[Ss]et axes(, such as| =) ("[A-Z]+",? ?(or )?)+ ?for its watched folder in config\.toml', "save them as a TIFF"),
    *OF_IMAGES[5:],
)
"""The same of labels, which --axes does not speak of."""


@contextlib.contextmanager
def for_this_command(of_labels: bool = False) -> Iterator[None]:
    """Errors of readers leave this block in the words of `alscope simulate`."""
    try:
        yield
    except PermanentError as e:
        said = translated(str(e), of_labels)
        if said == str(e):
            raise
        raise PermanentError(said, e.detail) from e


def translated(message: str, of_labels: bool = False) -> str:
    """A message with what it says of config.toml put into options of this command."""
    for theirs, ours in OF_LABELS if of_labels else OF_IMAGES:
        message = re.sub(theirs, ours, message)
    return message


def several(scenes: int, times: int, channels: int, depth: int) -> str:
    """What is said of an image that holds more than one volume. depth: slices of each."""
    held = [f"{n} {word}s" for n, word in ((scenes, "scene"), (times, "time point"), (channels, "channel")) if n > 1]
    slices = " (if they are slices, add --axes ZYX)" if depth == 1 and scenes == 1 and min(times, channels) == 1 else ""
    return f"holds {' of '.join(held)}{slices}; {ONE}"
