from html.parser import HTMLParser

import pytest

import mvsa_pipe as mv
from mvsa_pipe.analysis.finding import (
    AnalysedRun,
    Estimate,
    Finding,
    FindingTable,
    ForestPlot,
    ForestRow,
)
from mvsa_pipe.api.findings import ShownFinding
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.reports.notebook import notebook_html

EVIL = "<script>alert(1)</script> & \x1b[1m"
FOUND = Finding(
    analysis="shift",
    question=EVIL,
    verdict=[EVIL],
    tables=[
        FindingTable("scores", ["head", "accuracy", "n"], [[EVIL, Estimate(0.5, 0.4, 0.6), 3]]),
        FindingTable("other", ["head"], [], EVIL),
    ],
    plots=[ForestPlot(EVIL, "accuracy", [ForestRow(EVIL, Estimate(0.5, 0.4, 0.6))])],
    method=[EVIL],
    runs=[AnalysedRun("runs/a", "a", "0")],
    protocol="p",
    posts=3,
    options={},
)


class _Balance(HTMLParser):
    """Tags that are open, and all that were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        self.open.append(tag)
        self.seen.add(tag)

    def handle_startendtag(self, tag, attrs):  # noqa: ARG002
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_finding_shows_verdict_tables_and_plots_with_text_escaped():
    page = ShownFinding.of(FOUND)._repr_html_()
    parser = _Balance()
    parser.feed(page)
    assert not parser.open
    assert {"style", "table", "svg", "figure"} <= parser.seen
    assert "script" not in parser.seen
    assert "\x1b" not in page
    assert "0.500 [0.400, 0.600]" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "--series-1:" in page


def test_rules_hold_for_the_output_alone():
    style = notebook_html("t").partition("<style>")[2].partition("</style>")[0]
    for rule in style.replace("@media print{", "\n").splitlines():
        assert not rule or "@media" in rule or rule.startswith((".mvsa-output", "}")), rule


def test_long_tables_are_cut():
    page = notebook_html("t", tables=[FindingTable("x", ["n"], [[i] for i in range(100)])])
    assert "and 40 more rows" in page
    assert page.count("<tr>") == 61


def test_tables_become_frames():
    found = ShownFinding.of(FOUND)
    frame = found.to_frame()
    assert frame.to_dict("records") == [
        {"head": EVIL, "accuracy": 0.5, "accuracy low": 0.4, "accuracy high": 0.6, "n": 3}
    ]
    assert found.to_frame("other").empty
    assert isinstance(found, Finding)
    assert found.as_record() == FOUND.as_record()
    assert "tables: scores (1 rows)" in repr(found)
    with pytest.raises(ConfigError, match="no such table"):
        found.to_frame("missing")


@pytest.mark.usefixtures("workplace")
def test_runs_and_benches_show_scores_with_intervals_and_plots():
    data = mv.load(mv.read_posts("data"))
    bench = mv.bench(data, heads=["text", "logistic"], seeds=2, epochs=2, device="cpu", runs="runs")
    shown_bench, run = bench._repr_html_(), bench.runs[0]
    low, high = bench.summary.rows[0].interval["accuracy"]
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in shown_bench
    assert "majority" in shown_bench
    assert shown_bench.count("<svg") == 1
    page = run._repr_html_()
    scores = run.metrics["scores"]["test"]
    low, high = scores["intervals"]["accuracy"]
    assert f"{scores['values']['accuracy']:.3f} [{low:.3f}, {high:.3f}]" in page
    assert "confusion on test" in page
    assert "loss by epoch" in page
    (run.path / "history.jsonl").unlink()
    again = mv.open_run(run.path)._repr_html_()
    assert "history of the training cannot be read" in again
    assert "confusion on test" in again
