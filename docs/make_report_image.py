"""Makes the picture of the report from a real workspace: `make docs-images` (after `make demo`). Needs chromium and chromedriver."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

PICTURES = ("report.png",)
WIDTH, HEIGHT = 1180, 1400


def main(demo: Path, target: Path) -> int:
    """Write the report of a demo's workspace, and take its picture with the pointer on a suggested patch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("alscope")), "--config", str(demo / "config.toml")]
        subprocess.run([*command, "report", "--out", folder], check=True)
        picture = photograph(Path(folder) / "report.html")
    Image.open(io.BytesIO(picture)).convert("RGB").save(target / "report.png", optimize=True)
    return 0


def photograph(page: Path) -> bytes:
    """PNG of the upper part of a report, a suggested patch under the pointer."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.as_uri())
        point_at_a_picture(driver)
        return base64.b64decode(driver.get_screenshot_as_base64())
    finally:
        driver.quit()


def point_at_a_picture(driver: Any) -> None:
    """Step to the first suggested patch with a thumbnail, as somebody with a keyboard would, then put the pointer there."""
    from selenium.webdriver import ActionChains, Keys

    canvas = driver.find_element("id", "plane")
    for _ in range(100):
        canvas.send_keys(Keys.ARROW_RIGHT)
        tip = driver.find_element("id", "tip")
        if "(open)" in tip.text and tip.find_elements("class name", "shot"):
            break
    x, y = (int(n) for n in canvas.get_attribute("data-at").split(","))
    driver.execute_script("document.activeElement.blur()")
    size = canvas.size
    ActionChains(driver).move_to_element_with_offset(canvas, x - size["width"] // 2, y - size["height"] // 2).perform()
    driver.execute_script("window.scrollTo(0, 0)")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(__file__).parent / "images"))
