"""A headless Chromium of the system, where there is one; nothing is downloaded."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.records import leak, record, score  # noqa: F401

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    """The browser, started once a file: Playwright's event loop must not outlive it."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `browser`)")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on the path")
    # Chromium refuses its sandbox to root.
    flags = ["--no-sandbox"] if os.getuid() == 0 else []
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A page of some HTML, or of a file, `width` pixels wide; it notes what it asked for and got, said and threw."""

    @contextmanager
    def show(source, width=1200, **options):
        file = source if isinstance(source, Path) else tmp_path / "report.html"
        if file != source:
            file.write_text(source, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.asked, page.got, page.said = [], [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("requestfinished", lambda request: page.got.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        page.own = file.as_uri()
        yield page
        context.close()

    return show
