"""Checks of `alscope doctor`: the system libraries that Qt needs to open a window, which no Python package brings."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from daemon.cli.checking import Check

NAME = "qt libraries"
DEBIAN = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libOpenGL.so.0": "libopengl0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
"""Packages of Debian and Ubuntu that hold them."""


def qt_libraries(screen: bool) -> Check:
    """screen: is there one in this session? Without, nothing that is missing stands in the way now."""
    platform = _platform_plugin()
    absent = missing_libraries(platform) if platform is not None else []
    session = "" if screen else "; there is no screen in this session"
    if not absent:
        return Check(NAME, "ok", f"all that a window needs{session}")
    packages = sorted({DEBIAN.get(name, f"what holds {name}") for name in absent})
    mend = f"sudo apt install {' '.join(packages)} (Debian, Ubuntu; elsewhere the packages with these files)"
    found = f"{', '.join(absent)} missing: the window of `alscope annotate` cannot open here{session}"
    return Check(NAME, "warn" if screen else "ok", found, mend)


def _platform_plugin() -> Path | None:
    """Qt's link to the X server, found without importing Qt."""
    found = importlib.util.find_spec("PySide6")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        plugin = Path(folder) / "Qt" / "plugins" / "platforms" / "libqxcb.so"
        if plugin.is_file():
            return plugin
    return None


def missing_libraries(library: Path) -> list[str]:
    """Names of the shared libraries that a library needs and the loader does not find; empty where nobody can tell."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    done = subprocess.run([ldd, str(library)], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    return sorted({line.split()[0] for line in done.stdout.splitlines() if line.strip().endswith("=> not found")})
