"""Which NVIDIA GPUs are in this machine, and whether their driver is at work, from what the system itself says."""

from __future__ import annotations

from pathlib import Path

PCI_DEVICES = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia")
NODE = Path("/dev/nvidia0")
NVIDIA = "0x10de"
DISPLAY_CLASS = "0x03"
"""PCI class of display and 3D controllers."""


def names() -> list[str]:
    """Names of the GPUs that the driver serves."""
    found = []
    for page in sorted(DRIVER.glob("gpus/*/information")):
        lines = dict(line.split(":", 1) for line in _read(page).splitlines() if ":" in line)
        found.append(lines.get("Model", "NVIDIA GPU").strip())
    return found


def driver_version() -> str:
    """First line of what the driver says of itself; "" without a driver."""
    return _read(DRIVER / "version").partition("\n")[0].strip()


def without_driver() -> int:
    """NVIDIA GPUs on the bus while no driver is loaded."""
    if driver_version() or NODE.exists():
        return 0
    return sum(
        _read(device / "vendor").strip() == NVIDIA and _read(device / "class").startswith(DISPLAY_CLASS)
        for device in PCI_DEVICES.glob("*")
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
