"""A real browser: Chromium or Chrome, driven by Selenium; screenshots are kept where that is asked for.

`PERDURE_TEST_SCREENSHOTS` names a folder for them. Where there is no browser, tests skip; in CI they
fail, unless `PERDURE_WITHOUT_BROWSER=1` says that this is known.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-device-scale-factor=1",
)  # fmt: skip


def programs() -> tuple[str, str]:
    """The browser and its driver; skips or fails without."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    why = "no browser: install Chromium and chromedriver (Debian: chromium, chromium-driver)"
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    if in_ci and os.environ.get("PERDURE_WITHOUT_BROWSER") != "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome, base: str) -> None:
        self.driver = driver
        self.base = base

    def open(self, path: str) -> None:
        self.driver.get(self.base + path)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        return self.until(lambda: (self.find(selector).text,))[0]

    def click(self, selector: str, text: str = "") -> None:
        """Press the first thing that is chosen and says this; the page may change under it."""

        def press() -> bool:
            for each in self.all(selector):
                if text in each.text and each.is_displayed():
                    self.driver.execute_script(
                        "arguments[0].scrollIntoView({block: 'center'})", each
                    )
                    each.click()
                    return True
            return False

        self.until(press, 10)

    def fill(self, selector: str, text: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def until(self, look: Callable[[], T], seconds: float = 30) -> T:
        """What the look sees first; the page may change under it."""
        end = time.monotonic() + seconds
        while True:
            try:
                if seen := look():
                    return seen
            except (StaleElementReferenceException, WebDriverException):
                pass
            if time.monotonic() > end:
                raise AssertionError(
                    f"not seen on {self.driver.current_url}: {self.find('body').text[:800]}"
                )
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """What the browser has logged: errors of the script, and what the policy forbade."""
        return [each["message"] for each in self.driver.get_log("browser")]

    def dark(self, is_dark: bool) -> None:
        value = "dark" if is_dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def resize(self, width: int, height: int = 900) -> None:
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)

    def shoot(self, name: str) -> None:
        """Keep a screenshot, where a folder for them is named."""
        if folder := os.environ.get("PERDURE_TEST_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@contextmanager
def browsing(base: str, profile: Path) -> Iterator[Browser]:
    """A new window of a new profile."""
    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    service = Service(driver)
    started = webdriver.Chrome(options=options, service=service)
    try:
        opened = Browser(started, base)
        opened.resize(1280)
        yield opened
    finally:
        started.quit()
