"""Debian's chromium without a window, driven by selenium; tests that need it are skipped, with the packages named, without it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTH, HEIGHT = 1280, 900


@contextmanager
def browser(width: int = WIDTH, dark: bool = False) -> Iterator[Any]:
    """A browser that keeps its console; anything but data: and the page itself is an error there."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver", reason="needs the Python package selenium")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},{HEIGHT}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    try:
        metrics = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        if dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        yield found
    finally:
        found.quit()


def requests(driver: Any) -> list[str]:
    """Addresses that the page asked for, itself and data: left out."""
    import json

    asked = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    return [url for url in asked if not url.startswith(("data:", "file:///"))]


def seconds_to_load(driver: Any, page: Path) -> float:
    """Open a page; how long it took until it was drawn, as the browser says."""
    driver.get(page.as_uri())
    script, until = "return performance.getEntriesByType('navigation')[0].loadEventEnd", time.monotonic() + 30
    while not (took_ms := float(driver.execute_script(script))):  # 0 until what listens to that event has been told
        assert time.monotonic() < until
    return took_ms / 1000
