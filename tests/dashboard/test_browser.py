"""The page in headless Chromium."""

import shutil
from threading import Thread
from time import perf_counter

import pytest
from camera_fakes import ANY_SPEED, FakeRunner
from serving import MovingSource, free_port, running_loop

from jetseg.engine.engine import Engine
from jetseg.workflows.cameras import open_fleet

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed (Debian: apt-get install chromium)", allow_module_level=True)

MONITORS = {
    "drift": {
        "signals": {
            "too-dark": {"value": 10.123, "bound": 22.0, "normal": 104.0, "active": True},
            "blurred": {"value": -0.5, "bound": -1.4, "normal": -0.46, "active": False},
        }
    },
    "shadow": {"agreement_miou": 97.5, "recent_miou": 96.0, "bound": 70.0, "active": False},
}
SECONDS = 1000  # Playwright counts in milliseconds


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(20 * SECONDS)
    page.mistakes = []
    page.on("pageerror", lambda error: page.mistakes.append(str(error)))
    page.on("console", lambda message: page.mistakes.append(message.text) if message.type == "error" else None)
    yield page
    page.close()


def open_page(page, port):
    page.goto(f"http://127.0.0.1:{port}/")
    wait_for(page, lambda: page.inner_text("#fps") not in ("\u2013", "0.0"))


def wait_for(page, condition, seconds=20):
    """Playwright's own wait_for_function needs eval, which the page's policy forbids, and rightly."""
    until = perf_counter() + seconds
    while not condition():
        assert perf_counter() < until, "it did not happen in time"
        page.wait_for_timeout(50)


def sequence(page):
    return int(page.get_attribute("#picture", "data-sequence") or -1)


def content(page):
    return page.evaluate("document.querySelector('#picture').toDataURL()")


def test_numbers_move_and_the_picture_changes(page):
    port, slow = free_port(), FakeRunner(0.03)  # three times as slow as the camera: frames are dropped
    with running_loop(dashboard=port, runner=slow, further=lambda: MONITORS) as running:
        open_page(page, port)
        wait_for(page, lambda: sequence(page) > 0)
        first, dropped = content(page), page.inner_text("#dropped-note")
        wait_for(page, lambda: page.inner_text("#dropped-note") != dropped)
        wait_for(page, lambda: content(page) != first)
        running.events.add("drift-blur", "alarm", "The lens is <b>dirty</b>.")
        page.wait_for_selector("#events li.alarm")
        assert page.inner_text("#events li.alarm span") == "The lens is <b>dirty</b>."  # text, never markup
        assert page.inner_text("#quality") == "97.5%"
        assert page.inner_text("#quality-name") == "agreement"
        assert page.inner_text("#title") == "engine on fake"
        for stage in ("capture", "preprocess", "infer", "postprocess"):
            assert stage in page.inner_text("#stages")
        assert "memory" in page.inner_text("#host")
        wait_for(page, lambda: "dropped at" in page.inner_text("#facts"))
        assert [text.replace("\n", "") for text in page.locator("#drift li").all_inner_texts()] == [
            "too dark10.1 / 22",
            "blurred-0.5 / -1.4",
            "shadow disagrees96 / 70 %",
        ]
        assert page.locator("#drift .track.alarm").count() == 1
        assert "green" in page.inner_text("#shares")
        assert page.is_hidden("#banner")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.mistakes == []


def test_of_several_cameras_one_is_chosen(page):
    port = free_port()
    sources = {name: MovingSource(None, live=True, delay=0.02, name=name.upper()) for name in ("front", "rear")}
    with open_fleet(Engine(FakeRunner()), sources=sources, speed=ANY_SPEED, dashboard=port) as fleet:
        loop = Thread(target=fleet.run)
        loop.start()
        try:
            open_page(page, port)
            assert page.inner_text("#title") == "engine on front: FRONT"
            wait_for(page, lambda: page.locator("#cameras button").count() == 2)
            page.locator("#cameras button", has_text="rear").click()
            wait_for(page, lambda: page.inner_text("#title") == "engine on rear: REAR")
            wait_for(page, lambda: page.locator("#cameras button[aria-pressed=true]").inner_text().startswith("rear"))
            first = sequence(page)
            wait_for(page, lambda: sequence(page) > first)
            wait_for(page, lambda: "since arrival" in page.inner_text("#age-note"))
        finally:
            fleet.stop.requested = True
            loop.join(20)
    assert page.mistakes == []


@pytest.mark.long
def test_frames_that_stop_are_told(page):
    port = free_port()
    with running_loop(dashboard=port) as running:
        open_page(page, port)
        assert page.is_hidden("#stale")
        running.source.delay = 2.5
        seen = "['stale', 'health'].map((id) => document.getElementById(id)).map((place) => place.innerText.trim())"
        wait_for(
            page, lambda: page.is_visible("#stale") and page.evaluate(seen) == ["No new frame for 2 s", "no frames"]
        )
        running.source.delay = 0.01
        page.wait_for_selector("#stale", state="hidden")


@pytest.mark.long
def test_banner_appears_when_the_process_is_gone_and_goes_when_it_is_back(page):
    port = free_port()
    with running_loop(dashboard=port):
        open_page(page, port)
        assert page.is_hidden("#banner")
    page.wait_for_selector("#banner", state="visible")
    assert "Connection lost" in page.inner_text("#banner")
    last = sequence(page)
    with running_loop(dashboard=port):
        page.wait_for_selector("#banner", state="hidden")
        wait_for(page, lambda: sequence(page) != last)


def test_page_fits_a_telephone(page):
    port = free_port()
    page.set_viewport_size({"width": 375, "height": 700})
    with running_loop(dashboard=port):
        open_page(page, port)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
