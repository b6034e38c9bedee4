"""The page of a report in a real browser: quiet, sortable, dark, narrow, printable, safe."""

import re
import shutil

import pytest
from report_runs import CLASSES, written_run

from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.write import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

SCRIPT = "<script>document.title = 'taken over'</script>"
NARROW, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
FAST = {"resamples": 100, "check": False}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        # the sandbox of Chromium needs a user other than root
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Some heads, of two seeds each, whose names, classes and posts are scripts."""
    root = tmp_path_factory.mktemp("report")
    classes = (*CLASSES[:2], SCRIPT)
    posts = (f"p{SCRIPT}", "\u202edetrever", *(f"p{k}" for k in range(58)))
    for name, head, accuracy in (
        ("gated", "gated", 0.8),
        ("basic", "basic", 0.78),
        ("text", "text", 0.6),
        ("logistic", "logistic", 0.7),
        (SCRIPT.replace("/", "\u2215"), "a-head-of-my-own", 0.3),
    ):
        for seed in (0, 1):
            run = f"{name} {seed}"
            written_run(
                root / "runs", run, head, accuracy=accuracy, seed=seed, posts=posts, classes=classes
            )
    write_report([root / "runs"], ReportOptions(output=root / "report.html", **FAST), NO_PROGRESS)
    return root / "report.html"


@pytest.fixture
def opened(browser):
    """Opens a page; fails if it asks for anything but itself, or writes to the console."""
    seen, contexts = [], []

    def open_page(path, **options):
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: seen.append(dialog.message))
        page.on("request", lambda request: seen.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    asked = [what for what in seen if not what.startswith("data:image/")]
    assert len(asked) == len(contexts)
    assert all(re.fullmatch(r"file://\S+\.html", url) for url in asked), asked


def names(page):
    return page.locator("#leaderboard-table tbody tr:not([hidden]) th bdi").all_inner_texts()


def test_a_page_has_every_section_and_one_id_each(opened, page_file):
    page = opened(page_file)
    sections = [e.get_attribute("id") for e in page.locator("main > section").all()]
    assert sections == [
        "verdict", "data", "leaderboard", "comparison", "heads", "costs", "posts", "claims",
        "repeat",
    ]  # fmt: skip
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate("[...document.querySelectorAll('a[href]')].map((e) => e.hash.slice(1))")
    assert {*links} <= {*ids}
    for plot in page.locator("svg").all():
        assert plot.get_attribute("role") == "img"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('table')].filter((e) => !e.caption?.textContent.trim())"
        ".length"
    )
    assert unnamed == 0


def test_tables_are_sorted_by_their_headings_with_mouse_and_keyboard(opened, page_file):
    page = opened(page_file)
    before = names(page)
    heading = page.locator("#leaderboard-table th", has_text="macro-F1")
    button = heading.get_by_role("button")
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    column = heading.evaluate("(e) => e.cellIndex")
    values = page.locator(f"#leaderboard-table tbody tr :nth-child({column + 1})")

    def numbers():
        return [float(each.split()[0]) for each in values.all_inner_texts()]

    assert numbers() == sorted(numbers())
    button.focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert numbers() == sorted(numbers(), reverse=True)
    page.locator("#leaderboard-table th", has_text="rank").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert names(page)[:5] == before[:5]  # methods without a rank are at the end


def test_the_leaderboard_is_filtered_by_name_and_by_kind(opened, page_file):
    page = opened(page_file)
    every = names(page)
    page.locator("#leaderboard input[type=search]").fill("GATE")
    assert names(page) == ["gated"]
    assert page.locator("#leaderboard output").inner_text() == f"1 of {len(every)}"
    page.locator("#leaderboard input[type=search]").fill("")
    chip = page.get_by_role("button", name="baseline")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    assert names(page) == [name for name in every if name != "logistic"]


def test_a_link_of_the_leaderboard_opens_the_details_of_a_head(opened, page_file):
    page = opened(page_file)
    row = page.locator("#leaderboard-table tbody tr", has_text="single modality")
    row.get_by_role("link").click()
    details = page.locator("details.head[open]", has_text="the text alone")
    details.wait_for()  # the script opens it after the link was followed
    assert details.locator("svg").count() == 4


def test_the_theme_is_the_systems_until_it_is_chosen(opened, page_file):
    def brightness(page):
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    light, dark = (opened(page_file, color_scheme=scheme) for scheme in ("light", "dark"))
    assert brightness(light) > 230
    assert brightness(dark) < 40
    light.get_by_role("button", name="Theme").click()
    assert light.get_by_role("button", name="Theme: light").count() == 1
    light.get_by_role("button", name="Theme").click()
    assert brightness(light) < 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways(opened, page_file, scheme):
    page = opened(page_file, viewport=NARROW, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    wide = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(wide) <= NARROW["width"]
    boxes = page.locator(".scroll").all()
    assert boxes
    assert all(box.get_attribute("tabindex") == "0" for box in boxes)


def test_a_page_prints(opened, page_file):
    page = opened(page_file)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#theme").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_scripts_in_names_classes_and_posts_are_text(opened, page_file):
    page = opened(page_file)
    assert "taken over" not in page.title()
    assert page.locator("script").count() == 1
    shown = page.locator("body").inner_text()
    assert shown.count("<script>") > 3
    assert "\u202e" not in page.content()


def test_two_hundred_runs_over_five_hundred_posts_make_a_small_page(opened, tmp_path):
    """Ten seeds of twenty heads; no page may be larger than ten megabytes."""
    posts = tuple(f"p{k}" for k in range(500))
    for head in range(20):
        for seed in range(10):
            written_run(
                tmp_path / "runs",
                f"h{head} {seed}",
                "basic",
                accuracy=0.5 + head / 100,
                seed=seed,
                posts=posts,
                options={"hidden": head},
            )
    path = tmp_path / "report.html"
    write_report([tmp_path / "runs"], ReportOptions(output=path, **FAST), NO_PROGRESS)
    assert path.stat().st_size < 10_000_000
    page = opened(path)
    assert len(names(page)) == 22
    assert page.locator("details.head").count() == 20
