"""A page of 200 runs over 500 posts: the time to write it, its bytes, and the time to open it.

The runs are 200 heads of one seed, the most that so many runs can be. A new Chromium opens the page
and measures until all is loaded.
"""

import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from record import cpu_seconds_of, summary, write_record

from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.write import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

RUNS, POSTS, ROUNDS = 200, 500, 5
_LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def opened_seconds(page: Path) -> list[float]:
    """Seconds until Chromium has loaded a page, each time in a browser of its own."""
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as started:
        for _ in range(ROUNDS):
            browser = started.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            tab = browser.new_page()
            tab.goto(page.as_uri())
            seconds.append(tab.evaluate(_LOADED) / 1000)
            browser.close()
    return seconds


def main() -> None:
    """Writes the page and opens it."""
    from report_runs import written_run

    with TemporaryDirectory() as scratch:
        root, page = Path(scratch), Path(scratch) / "report.html"
        posts = tuple(f"p{k}" for k in range(POSTS))
        for k in range(RUNS):
            written_run(
                root / "runs",
                f"h{k}",
                "basic",
                accuracy=0.5 + k / 1000,
                posts=posts,
                options={"hidden": k + 1},
            )
        options = ReportOptions(output=page, check=False)
        began = time.perf_counter()
        computed = cpu_seconds_of(lambda: write_report([root / "runs"], options, NO_PROGRESS))
        wall = time.perf_counter() - began
        results = {
            "write_seconds": round(wall, 2),
            "write_processor_seconds": round(computed, 2),
            "bytes": page.stat().st_size,
            "open_seconds": summary(opened_seconds(page)),
        }
    print(write_record("page", {"runs": RUNS, "posts": POSTS, "rounds": ROUNDS}, results))
    print(results)


if __name__ == "__main__":
    main()
