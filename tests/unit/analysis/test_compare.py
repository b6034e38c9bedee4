"""Runs side by side, from hand-made run folders that hold what is compared and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from run_records import config_of

from mvsa_pipe.analysis.compare import compare
from mvsa_pipe.analysis.options import CompareOptions
from mvsa_pipe.analysis.sentences import sentences
from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.metrics.scores import score
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import (
    Member,
    RunContents,
    open_run,
    predictions_of,
    split_table,
    write_run,
)

CLASSES = ("negative", "neutral", "positive")
OPTIONS = CompareOptions(resamples=200)
POSTS = 40


def make(root, name, wrong=(), **changed):
    """A run over posts ``p0`` to ``p39``, right on all of them but those that are listed."""
    ids = changed.pop("ids", [f"p{k}" for k in range(POSTS)])
    part = changed.pop("part", "test")
    classes = changed.pop("classes", CLASSES)
    config = config_of(classes)
    config |= changed.pop("config", {})
    metrics = {
        "protocol": "set/60/seed-0",
        "seconds": 10.0,
        "peak_memory_bytes": 5_000_000,
        "peak_gpu_bytes": 0,
        "parameters": 1234,
        "device": "cpu",
        "left_out": [],
    } | changed.pop("metrics", {})
    labels = changed.pop("labels", [CLASSES[int(i[1:]) % 3] for i in ids])
    shares = np.full((len(ids), len(classes)), 0.1, np.float32)
    for row, (post, label) in enumerate(zip(ids, labels, strict=True)):
        shares[row, (classes.index(label) + (post in wrong)) % 3] = 1.1 - 0.1 * len(classes)
    contents = changed.pop("contents", {})
    assert not changed
    members = [Member(f"t{k}", "train", CLASSES[k % 2]) for k in range(20)]
    members += [
        Member(i, part, label, contents.get(i, {})) for i, label in zip(ids, labels, strict=True)
    ]
    rows = predictions_of(ids, [part] * len(ids), labels, shares, classes)
    files = RunContents(config, metrics, [], {"w": b"weights"}, rows, split_table(members))
    return write_run(root / name, files)


def test_scores_are_those_of_the_predictions(tmp_path):
    first = make(tmp_path, "a", wrong={"p1", "p2"})
    done = compare([first, make(tmp_path, "b", wrong={"p2", "p3", "p4"})], OPTIONS)
    labels = np.arange(POSTS) % 3
    shifted = labels.copy()
    shifted[1:3] = (labels[1:3] + 1) % 3
    of_labels, own = score(labels, shifted, CLASSES), done.rows[0].scores
    assert own.values | of_labels.values == own.values
    assert own.intervals | of_labels.intervals == own.intervals
    pair = done.rows[1].paired
    assert (pair.mcnemar.only_first, pair.mcnemar.only_second) == (2, 1)
    assert pair.differences["accuracy"].value == pytest.approx(-1 / POSTS)
    assert done.rows[0].paired is None
    assert (done.part, done.posts, done.protocols) == ("test", POSTS, ("set/60/seed-0",))


def test_classes_in_another_order_are_the_same_classes(tmp_path):
    first = make(tmp_path, "a")
    done = compare([first, make(tmp_path, "b", classes=CLASSES[::-1])], OPTIONS)
    assert done.rows[1].paired.agreement == 1.0


def test_references_are_of_the_training_posts(tmp_path):
    done = compare([make(tmp_path, "a"), make(tmp_path, "b")], OPTIONS)
    assert [row.name for row in done.references] == ["majority", "chance"]
    assert done.references[0].values["accuracy"] == pytest.approx(14 / 40)  # always "negative"


def test_a_pair_does_not_depend_on_what_is_compared_beside_it(tmp_path):
    runs = [make(tmp_path, name, wrong={f"p{k}"}) for k, name in enumerate("abc")]
    alone, beside = compare([runs[0], runs[2]], OPTIONS), compare(runs, OPTIONS)
    assert alone.rows[1].paired == beside.rows[2].paired


def test_words_say_reach_price_and_doubt(tmp_path):
    tuned = make(
        tmp_path,
        "tuned",
        config={"finetune": {"unfreeze": "all"}},
        metrics={
            "seconds": 1236.0,
            "energy_joules": 99.5,
            "parameters_trained": {"head": 2, "text": 7},
        },
    )
    cached = make(tmp_path, "cached", wrong={f"p{k}" for k in range(8)}, metrics={"seconds": 3.0})
    done = compare([tuned, cached], OPTIONS)
    reach, doubt, caveat = sentences(done)
    assert reach == (
        "cached (cached fit) reaches 80.0 % of the accuracy of tuned (fine-tuned) "
        "(80.0 against 100.0 %) at 1/412 of the time (3.0 s against 1,236.0 s)."
    )
    assert "-20.0 points" in doubt
    assert "is more than chance explains: over 40 posts McNemar's p = 0.00781" in doubt
    assert "features were extracted before" in caveat
    assert done.rows[0].cost.energy_joules == 99.5
    assert done.rows[0].cost.parameters_trained == 9
    assert done.rows[1].cost.energy_joules is None
    assert done.rows[1].cost.peak_gpu_bytes is None


def test_words_take_back_what_many_tests_would_find_by_chance(tmp_path):
    first = make(tmp_path, "a")
    others = [make(tmp_path, f"b{n}", wrong={f"p{k}" for k in range(6)}) for n in range(5)]
    alone, beside = compare([first, others[0]], OPTIONS), compare([first, *others], OPTIONS)
    assert "more than chance" in sentences(alone)[1]
    assert "may be chance" in sentences(beside)[1]
    assert "adjusted for 5 tests" in sentences(beside)[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (10.2, "in the same time"),
        (25.0, "at 2.5 times the time"),
        (4.0, "at 1/2.5 of the time"),
        (5000.0, "at 500 times the time"),
        (None, "of a (100.0 against 100.0 %)."),
    ],
)
def test_words_for_times(tmp_path, seconds, words):
    runs = [make(tmp_path, "a"), make(tmp_path, "b", metrics={"seconds": seconds})]
    assert words in sentences(compare(runs, OPTIONS))[0]


def test_words_warn_of_devices_validation_and_batches(tmp_path):
    runs = [
        make(tmp_path, "a", part="val", metrics={"device": "cuda:0"}),
        make(tmp_path, "b", part="val", metrics={"batch_independent": False}),
    ]
    done = compare(runs, OPTIONS)
    assert done.part == "val"
    text = " ".join(sentences(done))
    for words in ("optimistic", "different devices", "depend on their batch, as published: b"):
        assert words in text


SOME = [f"p{k}" for k in range(30, 70)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"metrics": {"protocol": "set/60/seed-1"}},
            "protocols differ: a has set/60/seed-0, b has set/60",
        ),
        ({"ids": SOME}, "test posts differ: a 40, b 40, of which 10 are shared"),
    ],
)
def test_other_posts_are_refused_unless_shared_ones_will_do(tmp_path, changed, words):
    runs = [make(tmp_path, "a"), make(tmp_path, "b", **changed)]
    with pytest.raises(RunError) as error:
        compare(runs, OPTIONS)
    assert words in str(error.value)
    assert "--shared-posts" in str(error.value)
    done = compare(runs, replace(OPTIONS, shared_posts=True))
    assert done.posts == (10 if "ids" in changed else POSTS)


def test_posts_that_were_changed_in_between_are_not_shared(tmp_path):
    """Two data sets of one name: a label and two texts are others; one run reads no pictures."""
    read = {f"p{k}": {Modality.TEXT: "1" * 16, Modality.IMAGE: "2" * 16} for k in range(POSTS)}
    texts = {i: {Modality.TEXT: of[Modality.TEXT]} for i, of in read.items()}
    texts |= {"p3": {Modality.TEXT: "3" * 16}, "p4": {Modality.TEXT: "4" * 16}}
    labels = [CLASSES[max(k, 1) % 3] for k in range(POSTS)]
    tags = [{"protocol": f"set/60@{digit * 8}/seed-0"} for digit in "ab"]
    runs = [
        make(tmp_path, "a", contents=read, metrics=tags[0]),
        make(tmp_path, "b", contents=texts, labels=labels, metrics=tags[1]),
    ]
    with pytest.raises(RunError) as error:
        compare(runs, OPTIONS)
    for words in (
        "protocols differ: a has set/60@aaaaaaaa/seed-0, b has set/60@bbbbbbbb/seed-0",
        "labels differ for 1 posts: p0",
        "texts or pictures differ for 2 posts: p3, p4",
        "--shared-posts compares them on the 37 test posts",
    ):
        assert words in str(error.value)
    assert compare(runs, replace(OPTIONS, shared_posts=True)).posts == 37


def test_a_run_without_a_digest_is_compared_by_ids_and_labels(tmp_path):
    new = make(tmp_path, "new", metrics={"protocol": "set/60@aaaaaaaa/seed-0"})
    done = compare([make(tmp_path, "old"), new], OPTIONS)
    assert done.posts == POSTS
    assert len(done.protocols) == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config": {"data": {"name": "other", "classes": list(CLASSES)}}}, "data sets differ"),
        (
            {"labels": [CLASSES[(k + 1) % 3] for k in range(POSTS)]},
            "labels differ for 40 posts: p0, p1",
        ),
        ({"ids": [f"q{k}" for k in range(5)]}, "no test post is shared"),
    ],
)
def test_what_cannot_be_compared_is_refused_even_so(tmp_path, changed, words):
    runs = [make(tmp_path, "a"), make(tmp_path, "b", **changed)]
    with pytest.raises(RunError) as error:
        compare(runs, replace(OPTIONS, shared_posts=True))
    assert words in str(error.value)


def test_other_classes_are_refused(tmp_path):
    names = ("negative", "positive", "neutral")
    first = make(tmp_path, "a")
    other = make(tmp_path, "b", classes=[*names, "mixed"])
    with pytest.raises(
        RunError, match="classes differ: a has negative, neutral, positive, b has mixed"
    ):
        compare([first, other], replace(OPTIONS, shared_posts=True))


def test_a_part_that_one_lacks_is_refused(tmp_path):
    runs = [make(tmp_path, "a"), make(tmp_path, "b", part="val")]
    with pytest.raises(RunError, match=r"not scored on a common part.*a: test; b: val"):
        compare(runs, OPTIONS)


def test_one_run_alone_or_twice_is_no_comparison(tmp_path):
    run = make(tmp_path, "a")
    for runs in ([run], [run, open_run(tmp_path / "a")]):
        with pytest.raises(ConfigError, match="two different runs"):
            compare(runs, OPTIONS)


def test_runs_of_one_name_and_the_same_settings_are_numbered(tmp_path):
    runs = [make(tmp_path / "x", "a"), make(tmp_path / "y", "a")]
    rows = compare(runs, OPTIONS).rows
    assert [row.name for row in rows] == ["run 1", "run 2"]
    assert [row.path for row in rows] == [str(run.path) for run in runs]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "post_id,split,label,prediction\n",
        "nothing,here\n1,2\n",
        "post_id,split,label\n1,test,a\n",
        "post_id,split,label,prediction\np1,test\n",
    ],
)
def test_damaged_predictions_are_refused(tmp_path, text):
    runs = [make(tmp_path, "a"), make(tmp_path, "b")]
    (tmp_path / "b" / "predictions.csv").write_text(text)
    with pytest.raises(RunError, match=r"predictions cannot be read \(.*b/predictions.csv\)"):
        compare(runs, OPTIONS)


def test_predictions_of_unknown_classes_are_refused(tmp_path):
    runs = [make(tmp_path, "a"), make(tmp_path, "b")]
    path = tmp_path / "b" / "predictions.csv"
    path.write_text(path.read_text().replace("neutral", "beige"))
    with pytest.raises(RunError, match="'beige'"):
        compare(runs, OPTIONS)


@pytest.mark.parametrize("field", ["resamples", "seed"])
def test_options_out_of_range_are_refused(field):
    with pytest.raises(ConfigError, match=f"--{field}"):
        CompareOptions(**{field: -1})
