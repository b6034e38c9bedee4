"""Evidence over synthetic heads: leaks, references, the verdict, and what cannot be checked."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_records import config_of

from mvsa_pipe.analysis.contest import Contest, Entry, Fold
from mvsa_pipe.analysis.evidence import evidence
from mvsa_pipe.analysis.evidence_words import verdict_of
from mvsa_pipe.analysis.leaks import EXACT, NEAR_PICTURE, SAME_TEXT, LeakFinder
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import ReadOptions
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import Run

TRAIN, TEST = ("a", "b", "c"), ("d", "e", "f", "g")


@pytest.fixture
def run(tmp_path):
    """A run whose test posts d, e and f are like training posts; g is not."""
    generator = np.random.default_rng(0)
    pictures = {
        i: Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            (120, 90), Image.Resampling.BICUBIC
        )
        for i in "abcdefg"
    }
    pictures["e"] = pictures["b"].resize((80, 60))
    for i, image in pictures.items():
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "f.png").write_bytes((tmp_path / "c.png").read_bytes())
    texts = dict.fromkeys("abcdefg", "") | {
        "a": "What a day",
        "d": "RT @x: what a DAY http://t.co/1",
    }
    texts |= {i: f"text of {i} alone" for i in "bcefg"}
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "text", "image", "label"])
        table.writerows([i, texts[i], f"{i}.png", "xy"[n % 2]] for n, i in enumerate(texts))
    rows = ["id,split,label", *(f"{i},train,x" for i in TRAIN), *(f"{i},test,x" for i in TEST)]
    (tmp_path / "split.csv").write_text("\n".join(rows) + "\n")
    config = config_of(("x", "y"))
    config["data"]["path"] = str(tmp_path / "posts.csv")
    config["data"]["read"] = ReadOptions().as_record()
    return Run(tmp_path, config, {})


def test_leaks_are_found_and_named(run):
    leaks = LeakFinder(run, NoProgress()).leaks(TEST, TRAIN)
    assert leaks.reasons == {
        "d": (SAME_TEXT,),
        "e": (NEAR_PICTURE,),
        "f": (EXACT[Modality.IMAGE], NEAR_PICTURE),
    }
    assert leaks.posts == 4
    assert leaks.counts[NEAR_PICTURE] == 2
    assert leaks.as_record()["leaked"] == 3
    assert not leaks.unchecked


def test_posts_that_are_gone_are_said_to_be_unchecked(run):
    Path(run.config["data"]["path"]).unlink()
    leaks = LeakFinder(run, NoProgress()).leaks(TEST, TRAIN)
    assert leaks.reasons == {}
    assert set(leaks.unchecked) == {SAME_TEXT, NEAR_PICTURE}


def heads(rights, names, run, posts=400):
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1], posts // 2)
    hard = generator.random(posts)
    entries = []
    for right, name in zip(rights, names, strict=True):
        runs = []
        for _ in range(3):
            hit = 0.8 * hard + 0.2 * generator.random(posts) < np.quantile(hard, right)
            predicted = np.where(hit, labels, 1 - labels)
            shares = np.where(predicted[:, None] == np.arange(2), 0.8, 0.2)
            runs.append(Answers(labels, predicted, 2, shares))
        entries.append(Entry(name, name, [runs]))
    ids = (*TEST, *(f"p{n}" for n in range(posts - 4)))
    fold = Fold(ids, TRAIN, np.array([0, 0, 1]), run)
    return Contest("test", tuple(entries), (fold,))


def test_the_verdict_says_who_leads_and_whether_fusion_helps(run):
    contest = heads([0.9, 0.6, 0.52, 0.6], ["basic", "text", "image", "logistic"], run)
    found = evidence(contest, NoProgress(), resamples=300)
    words = " ".join(verdict_of(found))
    assert found.rows[0].name == "basic"
    assert (found.fusion, found.single_modality) == ("basic", "text")
    assert "basic leads with accuracy" in words
    assert "ahead of all others by more than chance" in words
    assert "Fusion helps: basic against text alone" in words
    assert found.row("basic").not_above == ()
    assert "logistic" in found.row("text").not_above
    assert "chance" in found.row("image").not_above
    assert "Not better than logistic by more than chance: text, image." in words
    assert "Also in train, exactly or nearly: 3 of 400 posts" in words
    for row, entry in zip(found.rows, ["basic", "logistic", "text", "image"], strict=False):
        runs = next(e for e in contest.entries if e.name == row.name).folds[0]
        kept = [np.mean((own.predicted == own.labels)[3:]) for own in runs]
        assert row.leak_free == pytest.approx(np.mean(kept)), entry


def test_what_cannot_be_told_is_said(run):
    contest = heads([0.71, 0.70], ["basic", "text"], run)
    words = " ".join(verdict_of(evidence(contest, NoProgress(), resamples=300)))
    assert "cannot be told apart from all others: text" in words
    assert "Whether fusion helps cannot be told" in words or "Fusion does not help here" in words
    assert "400 posts show a difference of two runs if it is" in words


def test_a_score_that_posts_do_not_define_orders_nothing(run):
    contest = heads([0.7], ["basic"], run)
    answers = contest.entries[0].folds[0][0]
    one = Answers(np.zeros_like(answers.labels), answers.predicted, 2, answers.probabilities)
    entry = Entry("basic", "basic", [[one]])
    with pytest.raises(ConfigError, match="cannot be ordered by auroc"):
        evidence(Contest("test", (entry,), contest.folds), NoProgress(), Score.AUROC)
