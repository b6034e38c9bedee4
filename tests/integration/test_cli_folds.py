"""``mvsa bench --folds`` from outside: random folds with duplicates, and published ones."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.metrics.corrected_t import corrected_mean
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.runs import open_run

BENCH = ("bench", "--head", "text", "--head", "logistic", "--seeds", "2", "--epochs", "2")
COPIES = 6


@pytest.fixture(autouse=True)
def duplicates(workplace, mvsa):
    """Posts of which some have the text of another, with their features."""
    texts = sorted((workplace / "data" / "data").glob("*.txt"))
    for place in range(COPIES):
        shutil.copy(texts[place], texts[place + COPIES])
    for name in ("tiny-text", "tiny-image"):
        done = mvsa("extract", "--backbone", name)
        assert done.exit_code == 0, done.output


def benched(mvsa, *words):
    done = mvsa(*BENCH, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def parts_by_fold(record, head):
    """The part of each post in every fold, from the runs of one seed."""
    runs = [e["run"] for e in record["runs"] if (e["head"], e["seed"]) == (head, 0)]
    return [{m.post_id: m.split for m in open_run(Path(run)).members()} for run in runs]


def assert_corrected(record, parts):
    """Intervals and p-values of the record follow from the scores of its runs."""
    sizes = [[list(own.values()).count(part) for part in ("test", "train")] for own in parts]
    ratio = sum(tested for tested, _ in sizes) / sum(trained for _, trained in sizes)
    scores = {}
    for entry in record["runs"]:
        protocols = scores.setdefault(entry["head"], {})
        value = entry["scores"]["test"]["values"]["accuracy"]
        protocols.setdefault(entry["protocol"], []).append(value)
    means = {head: [float(np.mean(v)) for v in own.values()] for head, own in scores.items()}
    for row in record["rows"]:
        low, high = corrected_mean(means[row["head"]], ratio).interval
        assert row["interval"]["accuracy"] == pytest.approx([max(low, 0), min(high, 1)])
    (pair,) = record["analysis"]["pairs"]
    gains = np.subtract(means[pair["first"]], means[pair["second"]])
    expected = corrected_mean(list(gains), ratio)
    assert pair["difference"] == pytest.approx(float(gains.mean()))
    assert pair["p_value"] == pytest.approx(expected.p_value)
    assert pair["interval"] == pytest.approx(expected.interval)


def test_random_folds_test_every_post_once_and_keep_duplicates_together(mvsa):
    record = benched(mvsa, "--folds", "4")
    assert record["protocol"].endswith("/folds-4/seed-0/all-folds")
    assert record["analysis"]["folds"] == 4
    assert record["analysis"]["method"] == "corrected resampled t-test over folds"
    assert record["analysis"]["posts"] == 100
    parts = parts_by_fold(record, "text")
    assert len(parts) == 4
    posts = read_posts(Path("data"))
    tested = [i for own in parts for i, part in own.items() if part == "test"]
    assert sorted(tested) == sorted(post.id for post in posts.posts)
    groups = dict(zip((post.id for post in posts.posts), duplicate_groups(posts), strict=True))
    pairs = [(a, b) for a, b in combinations(groups, 2) if groups[a] == groups[b]]
    assert len(pairs) >= COPIES
    assert all(own[a] == own[b] for own in parts for a, b in pairs)
    assert_corrected(record, parts)


def test_published_folds_are_read_as_they_are(mvsa, refused):
    ids = [post.id for post in read_posts(Path("data")).posts]
    Path("published").mkdir()
    for fold in range(3):
        for part, own in {"train": (0, 50), "val": (50, 70), "test": (70, 100)}.items():
            chosen = [ids[(place + 30 * fold) % 100] for place in range(*own)]
            Path(f"published/{part}_{fold + 1}.txt").write_text("\n".join(chosen) + "\n")
    record = benched(mvsa, "--folds", "published")
    assert record["protocol"].endswith("/published/all-folds")
    parts = parts_by_fold(record, "logistic")
    for fold, own in enumerate(parts):
        listed = Path(f"published/test_{fold + 1}.txt").read_text().split()
        assert sorted(listed) == sorted(i for i, part in own.items() if part == "test")
    assert_corrected(record, parts)
    said = refused(*BENCH, "--folds", "published", "--split", "random-8:1:1")
    assert "--folds and --split exclude each other" in said


def test_one_of_the_folds_alone_is_the_same_run(mvsa):
    record = benched(mvsa, "--folds", "4")
    (entry,) = (
        e
        for e in record["runs"]
        if (e["head"], e["seed"]) == ("logistic", 0) and e["protocol"].endswith("/fold-2")
    )
    fitted = json.loads(mvsa("fit", "--head", "logistic", "--split", "folds-4:2", "--json").stdout)
    assert fitted["protocol"] == entry["protocol"]
    assert fitted["scores"]["test"]["values"] == entry["scores"]["test"]["values"]
    again = json.loads(mvsa("reproduce", entry["run"], "--json").stdout)
    assert again["answer"] == "same"
