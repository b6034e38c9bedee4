"""What a report says of runs whose predictions are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from report_runs import CLASSES, EPOCHS, written_run

from mvsa_pipe.analysis.finding import Estimate
from mvsa_pipe.analysis.finding_store import save_finding
from mvsa_pipe.analysis.options import ShiftOptions
from mvsa_pipe.analysis.shift import shift
from mvsa_pipe.errors import ConfigError, DataError, RunError
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.reports.collect import collect
from mvsa_pipe.reports.content import Kind, leaderboard_table
from mvsa_pipe.reports.given_runs import given_runs
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.page import html_page
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.layout import FAILED

OPTIONS = ReportOptions(resamples=200, check=False)
HEADS = {"gated": 0.9, "logistic": 0.75, "text": 0.7, "image": 0.3}


def collected(paths, options=OPTIONS):
    return collect(given_runs(paths), options, DEFAULT_SCORES, NO_PROGRESS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "runs"
    for head, accuracy in HEADS.items():
        for seed in range(3):
            written_run(root, f"{head}-{seed}", head, accuracy=accuracy, seed=seed)
    return root


@pytest.fixture(scope="module")
def content(runs):
    return collected([runs])


def test_seeds_are_one_head_and_heads_stand_in_order(content, runs):
    ranked = [row for row in content.leaderboard.rows if row.rank is not None]
    assert [row.name for row in ranked] == list(HEADS)
    assert content.leaderboard.seeds == 3
    assert [row.kind for row in content.leaderboard.rows] == [
        Kind.FUSION,
        Kind.BASELINE,
        Kind.SINGLE,
        Kind.SINGLE,
        Kind.REFERENCE,
        Kind.REFERENCE,
    ]
    first = ranked[0].scores[0]
    own = [open_run(runs / f"gated-{seed}").predictions() for seed in range(3)]
    right = np.mean([[row.label == row.prediction for row in rows] for rows in own])
    assert isinstance(first, Estimate)
    assert first.value == pytest.approx(right)
    assert first.low < first.value < first.high
    assert ranked[-1].group > 1
    assert content.verdict[0].startswith("gated leads")
    assert content.figures[0].value == f"{100 * right:.1f} %"


def test_heads_are_compared_with_logistic_or_with_the_named_one(content, runs):
    _, difference = content.overview
    shown = {row.name: row.estimate for row in difference.rows}
    scores = {row.name: row.scores[0] for row in content.leaderboard.rows}
    assert difference.references == {"logistic": 0.0}
    assert shown["logistic"] == Estimate(0.0, 0.0, 0.0)
    assert shown["image"].value == pytest.approx(
        100 * (scores["image"].value - scores["logistic"].value)
    )
    assert shown["image"].low < shown["image"].value < shown["image"].high < 0
    named = collected([runs], replace(OPTIONS, reference="text", curves=0))
    assert named.overview[1].references == {"text": 0.0}
    assert named.pairs[0].title == "each head against text"
    with pytest.raises(ConfigError, match=r"--reference.*gated, logistic, text, image"):
        collected([runs], replace(OPTIONS, reference="nothing"))


def test_confusion_is_of_all_seeds_together(content, runs):
    confusion = content.heads[0].confusion
    assert np.sum(confusion.counts) == 3 * 60
    own = [row for k in range(3) for row in open_run(runs / f"gated-{k}").predictions()]
    for true, name in enumerate(CLASSES):
        for predicted, other in enumerate(CLASSES):
            count = sum(row.label == name and row.prediction == other for row in own)
            assert confusion.counts[true][predicted] == count
        assert sum(confusion.share(true, k) for k in range(3)) == pytest.approx(1)
    for place, row in enumerate(content.heads[0].per_class.rows):
        recall = row[2]
        assert row[0] == CLASSES[place]
        assert recall.value == pytest.approx(confusion.share(place, place))  # seeds of equal size
        assert row[-1] == 20


def test_curves_are_those_of_the_records(content):
    recall, reliability, loss, selection = content.heads[0].plots
    assert [series.name for series in recall.series] == list(CLASSES)
    assert all(max(s.x) == 1 and min(s.y) > 0 for s in recall.series)
    assert reliability.diagonal
    assert [series.name for series in loss.series] == ["training", "validation"]
    assert loss.series[0].y == [1 / (k + 1) for k in range(EPOCHS)]
    assert loss.marks == {"selected": EPOCHS - 1}
    assert selection.title == "macro-F1 of validation posts by epoch"


def test_heads_beyond_the_asked_number_have_tables_alone(runs):
    some = collected([runs], replace(OPTIONS, curves=2)).heads
    assert [bool(head.plots) for head in some] == [True, True, False, False]
    assert all(head.per_class.rows for head in some)


def test_costs_are_means_over_seeds(content):
    assert content.costs.columns == ["head", "seconds", "parameters", "peak memory, MiB", "device"]
    row = dict(zip(content.costs.columns, content.costs.rows[0], strict=True))
    assert row["seconds"] == 2.0  # of 1, 2 and 3
    assert [plot.x_label for plot in content.cost_plots] == [
        "seconds of one training",
        "trained parameters",
    ]


def test_hard_posts_are_disputed_or_sure_and_wrong(content):
    for post in content.hard.disputed:
        assert max(post.votes.values()) < post.heads == len(HEADS)
        assert post.right == post.votes[post.label]
    wrong = content.hard.wrong
    assert wrong
    assert all(post.label != post.predicted for post in wrong)
    assert [post.share for post in wrong] == sorted((p.share for p in wrong), reverse=True)
    assert not content.hard.shown


def test_one_run_is_a_report_too(runs):
    alone = collected([runs / "text-0"])
    assert alone.verdict[0].endswith("it has no rival here.")
    assert len(alone.overview) == 1
    assert alone.hard.disputed == []
    assert "<h2" in html_page(alone)


def test_analyses_beside_the_runs_are_sections(tmp_path):
    copies = [written_run(tmp_path / "runs", name, name) for name in ("text", "gated")]
    finding = shift(copies, ShiftOptions(resamples=50), NO_PROGRESS)
    save_finding(finding, copies)
    both = collected([tmp_path / "runs"])
    assert [found.analysis for found in both.findings] == ["shift"]
    page = html_page(both)
    assert finding.question in page
    assert 'href="#analysis-1"' in page
    assert collected([tmp_path / "runs" / "text"]).findings == []  # it is about another run, too


def test_texts_are_read_only_from_the_posts_of_the_run(runs):
    with pytest.raises(DataError):
        collected([runs], replace(OPTIONS, with_posts=True))


def test_runs_are_named_by_folder_record_or_one_by_one(runs, tmp_path):
    (tmp_path / "bench-x").mkdir()
    moved = written_run(tmp_path, "one", "text").path
    record = tmp_path / "bench-x" / "bench.json"
    entries = [{"run": "elsewhere/one", "head": "text"}, {"run": str(runs / "gated-0")}]
    record.write_text(json.dumps({"runs": entries, "command": "mvsa bench"}))
    for given in (record, record.parent):
        found = given_runs([given])
        assert [run.path for run in found.runs] == [moved.resolve(), runs / "gated-0"]
    assert given_runs([runs / "text-0", runs / "text-0"]).runs == [open_run(runs / "text-0")]
    assert len(given_runs([runs]).runs) == 12
    record.write_text("{}")
    with pytest.raises(RunError, match="not the record of a bench"):
        given_runs([record])
    with pytest.raises(RunError, match="no run here"):
        given_runs([tmp_path / "nothing"])


def test_a_bench_says_its_command(tmp_path):
    for name in ("one", "two"):
        written_run(tmp_path, name, name)
    (tmp_path / "bench-x").mkdir()
    record = {"runs": [{"run": "one"}, {"run": "two"}], "command": "mvsa bench --seeds 1"}
    (tmp_path / "bench-x" / "bench.json").write_text(json.dumps(record))
    assert given_runs([tmp_path]).commands == ["mvsa bench --seeds 1"]
    assert given_runs([tmp_path / "one"]).commands == []  # the bench has more runs
    (tmp_path / "bench-x" / "bench.json").write_text("{")
    assert given_runs([tmp_path]).commands == []


def test_failed_runs_are_named_with_their_reasons(tmp_path):
    written_run(tmp_path, "fine", "text")
    (tmp_path / "bad").mkdir()
    failure = {"spec_digest": "1", "reason": "It <b>diverged</b>.", "lasting": True}
    (tmp_path / "bad" / FAILED).write_text(json.dumps(failure))
    found = given_runs([tmp_path])
    assert found.failed == [("bad", "It <b>diverged</b>.")]
    page = html_page(collect(found, OPTIONS, DEFAULT_SCORES, NO_PROGRESS))
    assert "It &lt;b&gt;diverged&lt;/b&gt;." in page
    with pytest.raises(RunError, match=r"failed.*diverged"):
        given_runs([tmp_path / "bad"])


def test_runs_over_other_posts_of_one_protocol_are_refused(runs, tmp_path):
    written_run(tmp_path, "other", "text", posts=("a", "b", "c"))
    with pytest.raises(RunError, match="cannot be compared over their splits"):
        collected([runs, tmp_path / "other"])


def test_folds_are_compared_over_all_of_them(tmp_path):
    posts = [f"p{k}" for k in range(120)]
    for fold in range(3):
        own = tuple(posts[40 * fold :][:40])
        for head, accuracy in (("gated", 0.9), ("text", 0.5), ("basic", 0.6)):
            if (head, fold) != ("basic", 2):
                name = f"{head}-{fold}"
                written_run(tmp_path, name, head, accuracy=accuracy, posts=own, split=f"f/{fold}")
    folds = collected([tmp_path])
    assert folds.title == "set: 2 heads on 120 test posts in 3 splits"
    assert [row.name for row in folds.leaderboard.rows[:2]] == ["gated", "text"]
    assert "corrected resampled t-test" in folds.leaderboard.note
    assert np.sum(folds.heads[0].confusion.counts) == 120
    assert any("Not ranked" in sentence for sentence in folds.verdict)
    html_page(folds)
    with pytest.raises(RunError, match="over their splits"):
        collected([tmp_path / "gated-0", tmp_path / "text-1"])


def test_the_leaderboard_is_a_plain_table_too(content):
    table = leaderboard_table(content.leaderboard)
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert content.tables()[0] == table
    for each in content.tables():
        assert {len(row) for row in each.rows} <= {len(each.columns)}
