"""The page of ``mvsa try`` in a real browser: it answers, and asks no other machine."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from analysed_runs import copied
from PIL import Image

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.export.options import ExportOptions
from mvsa_pipe.export.write import export_run
from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.try_page.options import TryOptions
from mvsa_pipe.try_page.serving import served

pytest.importorskip("gradio", reason="gradio is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

NARROW, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
START_MS = 120_000
# The command, in a process that tells of every connection to another machine.
PROBE = """
import sys
OWN = ("127.0.0.1", "::1", "localhost", None)
def watch(event, details):
    if event == "socket.getaddrinfo" and details[0] not in OWN:
        print("ASKED", details[0], file=sys.stderr)
    if event == "socket.connect" and isinstance(details[1], tuple) and details[1][0] not in OWN:
        print("ASKED", details[1], file=sys.stderr)
sys.addaudithook(watch)
from mvsa_pipe.cli import main
main()
"""


@pytest.fixture(scope="module")
def address(pipeline, tmp_path_factory):
    """The page of a run and an exported folder, served by the command; ended by Ctrl+C."""
    made = copied(pipeline, tmp_path_factory.mktemp("try"))
    run = made("cmac", options={"width": 16}, epochs=1)
    export_run(run, ExportOptions(output=made.root / "exported", onnx=False), NO_PROGRESS)
    words = ["try", str(run.path), str(made.root / "exported"), "--device", "cpu"]
    temporary = made.root / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", PROBE, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=made.root,
        env=os.environ | {"NO_COLOR": "1", "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        first = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", first)
        assert found, first + process.stderr.read()
        yield found.group()
        assert [*temporary.iterdir()]  # files of the page are there while it is served
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "ASKED" not in errors, errors
    assert not [*temporary.glob("mvsa-try-*")]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page; fails if it asks another machine, or meets an error."""
    asked, written, contexts = [], [], []

    def open_page(**options):
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(START_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: written.append((message.type, message.text)))
        page.on("pageerror", lambda error: written.append(("error", str(error))))
        page.goto(address)
        page.get_by_role("button", name="Answer").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert not [text for kind, text in written if kind == "error"], written


def picture_file(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 60), (200, 30, 30)).save(buffer, "PNG")
    path = folder / "red.png"
    path.write_bytes(buffer.getvalue())
    return path


def upload(page, path: Path) -> None:
    with page.expect_response(lambda response: "/upload?" in response.url):
        page.locator("input[type=file]").set_input_files(path)
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.wait_for()


def test_a_text_and_a_picture_are_answered_side_by_side(opened, tmp_path):
    page = opened()
    assert page.title() == "Try runs"
    page.get_by_label("Text").fill("what a day <b>bold</b>")
    upload(page, picture_file(tmp_path))
    page.get_by_role("button", name="Answer").click()
    tables = page.locator(".mvsa-answers table")
    tables.nth(1).wait_for()
    for table in tables.all():
        rows = table.locator("tbody tr")
        assert rows.locator("th").all_inner_texts() == [
            "text and picture", "text alone", "picture alone",
        ]  # fmt: skip
        for row in rows.all():
            shares = [float(cell) for cell in row.locator("td").all_inner_texts()]
            assert sum(shares) == pytest.approx(100, abs=0.2)
    first, second = (table.locator("tbody tr").first.inner_text() for table in tables.all())
    assert first == second  # a run and its export
    assert page.locator(".mvsa-answers .words").first.inner_text().startswith("what")
    assert page.locator(".mvsa-answers b").count() == 0
    assert page.locator(".mvsa-answers .patches").count() == 2


def test_what_is_missing_or_broken_is_told(opened, tmp_path):
    page = opened()
    page.get_by_label("Text").fill("what a day")
    page.get_by_role("button", name="Answer").click()
    fault = page.locator(".mvsa-answers [role=alert]").first
    fault.wait_for()
    assert "reads the text and the picture" in fault.inner_text()
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture_file(tmp_path).read_bytes()[:60])
    upload(page, broken)
    page.get_by_role("button", name="Answer").click()
    page.get_by_text("This post cannot be read").first.wait_for()


def test_an_example_is_answered_at_once_on_a_phone(opened):
    page = opened(viewport=NARROW, is_mobile=True, has_touch=True)
    page.get_by_text("negative text, positive picture").click()
    page.locator(".mvsa-answers table").first.wait_for()
    assert page.get_by_label("Text").input_value()
    wide = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(wide) <= NARROW["width"]
    boxes = page.locator(".mvsa-answers .scroll")
    assert boxes.first.evaluate("(e) => e.scrollWidth <= e.clientWidth")


def test_a_port_that_is_taken_is_told(address):
    with (
        pytest.raises(ConfigError, match="cannot be served"),
        served([], TryOptions(port=urlsplit(address).port)),
    ):
        pass


def test_browsers_are_told_to_load_nothing_from_elsewhere(opened, browser, address):
    opened()
    context = browser.new_context()
    policy = context.request.get(address).headers["content-security-policy"]
    context.close()
    assert "default-src 'self'" in policy
    assert "http" not in policy
