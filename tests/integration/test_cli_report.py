"""``mvsa report`` from outside, and the pages that benches and the quickstart write."""

import json
import shutil
from html import unescape
from pathlib import Path

import pytest

import mvsa_pipe as mv
from mvsa_pipe.errors import ConfigError

QUICK = ("--resamples", "50")


@pytest.mark.usefixtures("place")
def test_a_folder_of_runs_becomes_a_page(mvsa):
    result = mvsa("report", "runs", *QUICK, "-o", "pages/all.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "report: pages/all.html"
    page = Path("pages/all.html").read_text(encoding="utf-8")
    assert "native-cat" in page
    assert "mvsa reproduce runs/both" in page
    assert "Ids alone" in page
    assert "data:image/jpeg" not in page
    assert "The data set was not checked" not in page
    again = mvsa("report", "runs", *QUICK, "-o", "again.html")
    assert again.exit_code == 0
    one, other = (
        [line for line in text.splitlines() if "Written by" not in line]
        for text in (page, Path("again.html").read_text(encoding="utf-8"))
    )
    assert one == other


@pytest.mark.usefixtures("place")
def test_posts_are_shown_when_asked_for(mvsa):
    result = mvsa("report", "runs", *QUICK, "--no-check", "--with-posts", "--hard-posts", 3)
    assert result.exit_code == 0, result.output
    page = Path("report.html").read_text(encoding="utf-8")
    assert "Research only." in page
    assert page.count("data:image/jpeg;base64,") >= 3
    texts = [post.text for post in mv.read_posts("data").posts]
    assert sum(text in unescape(page) for text in texts) >= 3


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("written", "path", "line"),
    [
        ("markdown", "report.md", "**heads by accuracy**"),
        ("latex", "report.tex", r"\toprule"),
        ("csv", "report/heads-by-accuracy.csv", "head,rank,ranks,group,accuracy,accuracy low,"),
    ],
)
def test_other_formats_have_the_tables(mvsa, written, path, line):
    result = mvsa("report", "runs", *QUICK, "--no-check", "--format", written)
    assert result.exit_code == 0, result.output
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    assert any(each.startswith(line) for each in lines)


@pytest.mark.usefixtures("place")
def test_what_cannot_be_reported_is_said(refused):
    assert "no run here" in refused("report", "nothing")
    assert "--reference" in refused("report", "runs", "--no-check", "--reference", "cmac")
    assert "--format" in refused("report", "runs", "--format", "pdf")


@pytest.mark.usefixtures("place")
def test_what_ends_a_report_ends_it_before_the_work(refused, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr("mvsa_pipe.reports.collect.evidence", never)
    broken = Path("runs/analyses/shift-0.json")
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("{")
    assert f"{broken.name}). Found" in refused("report", "runs")
    broken.unlink()
    Path("pages").mkdir()
    Path("table.csv").touch()
    said = refused("report", "runs", "-o", "pages")
    assert "Next: mvsa report runs --format html --output pages/report.html" in said
    said = refused("report", "runs", "--format", "csv", "-o", "table.csv")
    assert "Next: mvsa report runs --format csv --output table-report" in said
    assert "Expected a folder. Found a file" in refused("report", "runs", "-o", "table.csv/a.html")


@pytest.mark.usefixtures("place")
def test_a_bench_writes_its_page_beside_its_record(mvsa):
    heads = ("--head", "text", "--head", "logistic")
    result = mvsa("bench", *heads, "--seeds", 1, "--epochs", 1, "--report", "--runs", "trials")
    assert result.exit_code == 0, result.output
    (record,) = Path("trials").glob("*/bench.json")
    assert f"report: {record.with_name('report.html')}" in result.stdout
    page = unescape(record.with_name("report.html").read_text(encoding="utf-8"))
    assert json.loads(record.read_text())["command"] in page


def test_the_quickstart_ends_with_its_page(mvsa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "mvsa_pipe.benches.options.BenchOptions.chosen_heads", lambda _: ("text", "logistic")
    )
    result = mvsa("quickstart", "--posts", 60)
    assert result.exit_code == 0, result.output
    assert "report: quickstart/report.html" in result.stdout
    assert "2 heads on" in Path("quickstart/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("place")
def test_the_library_writes_the_same_page():
    runs = [mv.open_run(path) for path in ("runs/both", "runs/text")]
    path = mv.report(*runs, output="mine.html", resamples=50, check=False)
    assert path == Path("mine.html")
    assert "<h2" in path.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean output"):
        mv.report("runs", outputs="typo.html")


def test_a_pattern_over_the_runs_folder_skips_what_lies_beside_runs(fitted, tmp_path, mvsa):
    runs = tmp_path / "runs"
    shutil.copytree(fitted / "runs", runs)
    words = ["analyze", "shift", "--resamples", "20"]
    first = mvsa(*words, *sorted(runs.iterdir()))
    assert first.exit_code == 0, first.output
    (runs / "tuning.sqlite3").write_bytes(b"searched settings")
    assert (runs / "analyses").is_dir()
    again = mvsa(*words, *sorted(runs.iterdir()), runs / "both")
    assert again.exit_code == 0, again.output
    alone = mvsa(*words, runs / "analyses")
    assert alone.exit_code == 2
    assert "no run here" in alone.output
