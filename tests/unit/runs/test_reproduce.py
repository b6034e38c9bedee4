"""A run trained again from its record is what it was, or the answer says what differs."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_records import config_of
from statsmodels.stats.weightstats import ttost_paired

from mvsa_pipe.errors import DataError, RunError
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.metrics.scores import score
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import RunContents, open_run, predictions_of, write_run
from mvsa_pipe.runs.options import CacheChoice, DataChoice, ReproduceOptions
from mvsa_pipe.runs.reproduce import reproduce
from mvsa_pipe.runs.reproduction import Answer, compare_with

OPTIONS = ReproduceOptions(device="cpu")


def again(run, options=OPTIONS):
    return reproduce(run, options, NoProgress())


def contents_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(run, file, change):
    path = run.path / file
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return open_run(run.path)


@pytest.mark.parametrize("head", ["native-cat", "cmac", "logistic"])
def test_a_run_is_the_same(make_run, head):
    grid = CacheChoice(features=FeatureOptions(image_grid=2))
    run = make_run(head, caches=grid if head == "cmac" else CacheChoice())
    before = contents_of(run.path)
    done = again(run)
    assert done.answer is Answer.SAME
    assert done.reproduced
    assert (done.largest_difference, done.other_predictions) == (0, 0)
    assert done.selected[0] == done.selected[1] != []
    assert max(done.history_difference.values()) == 0
    assert all(then == now for values in done.scores.values() for then, now in values.values())
    assert done.conditions == {}
    assert contents_of(run.path) == before


def test_of_a_fold_and_with_features_that_are_gone(make_run):
    run = make_run(data=DataChoice(split="folds-5:3", split_seed=1))
    shutil.rmtree("cache")
    done = again(run)
    assert done.answer is Answer.SAME
    assert done.protocol.endswith("folds-5/seed-1/fold-3")


def test_the_new_run_is_kept_where_asked(make_run):
    run = make_run()
    done = again(run, replace(OPTIONS, output=Path("kept/new")))
    new = open_run(done.kept)
    assert new.config["reproduces"] == str(run.path.resolve())
    for name in ("predictions.csv", "split.csv", "history.jsonl"):
        assert (new.path / name).read_bytes() == (run.path / name).read_bytes()
    for key in ("data", "training", "head_options", "protocol"):
        assert new.config[key] == run.config[key]


@pytest.mark.parametrize("output", ["new", ".."])
def test_nothing_is_written_into_the_run_or_over_another(make_run, output):
    run = make_run()
    before = contents_of(run.path)
    with pytest.raises(RunError, match=r"inside of the run|exists already"):
        again(run, replace(OPTIONS, output=run.path / output))
    assert contents_of(run.path) == before


def test_posts_that_came_later_do_not_matter(make_run):
    run = make_run()
    with Path("data/labelResultAll.txt").open("a") as file:
        file.write("9999\tpositive,positive\n")
    some = next(Path("data").rglob("*.jpg"))
    shutil.copy(some, some.with_name("9999.jpg"))
    shutil.copy(some.with_suffix(".txt"), some.with_name("9999.txt"))
    done = again(run)
    assert done.answer is Answer.SAME
    assert list(done.conditions) == ["posts of the data set"]


def test_posts_that_moved_or_changed(make_run):
    run = make_run()
    Path("data").rename("elsewhere")
    with pytest.raises(DataError, match=r"not where they were.*--data PATH"):
        again(run)
    moved = replace(OPTIONS, data=Path("elsewhere"))
    done = again(run, moved)
    assert done.answer is Answer.SAME
    assert list(done.conditions) == ["path of the posts"]
    given = ReproduceOptions(device="cpu", given=read_posts(Path("elsewhere")))
    assert again(run, given).answer is Answer.SAME
    labels = Path("elsewhere/labelResultAll.txt")
    *kept, _ = labels.read_text().splitlines(keepends=True)
    labels.write_text("".join(kept))
    with pytest.raises(DataError, match="1 of its 100 posts are missing"):
        again(run, moved)


def test_another_text_is_refused(make_run):
    run = make_run()
    next(Path("data/data").glob("*.txt")).write_text("something else entirely")
    with pytest.raises(DataError, match="1 of its 100 posts have another text now"):
        again(run)


def test_a_record_with_other_epochs_is_trained_to_something_else(make_run):
    run = make_run()
    changed = edit(run, "config.json", lambda config: config["training"].update(epochs=1))
    changed = edit(changed, "config.json", lambda config: config["versions"].update(torch="0.1"))
    done = again(changed)
    assert done.answer is not Answer.SAME
    assert done.epochs == (2, 1)
    assert done.conditions["torch"][0] == "0.1"
    assert any("torch, 0.1 then" in note for note in done.table_notes())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["training"].update(nonsense=1), "unknown option 'nonsense'"),
        (lambda c: c["training"].update(epochs=-1), "--epochs cannot be used"),
        (lambda c: c.update(finetune={"trained": ["text"]}), "mvsa finetune --head native-cat"),
        (lambda c: c["data"].update(path=None), "built in memory"),
    ],
)
def test_records_that_cannot_be_trained_again(make_run, change, said):
    with pytest.raises(RunError, match=said):
        again(edit(make_run(), "config.json", change))


CLASSES = ("negative", "positive")


def run_of(path, probabilities, labels, epoch=1):
    """A run on test posts with some probabilities of the second class."""
    return write_run(path, contents_with(probabilities, labels, epoch))


def contents_with(probabilities, labels, epoch=1):
    shares = np.stack([1 - probabilities, probabilities], axis=1)
    ids = [str(place) for place in range(len(labels))]
    names = [CLASSES[label] for label in labels]
    record = score(labels, shares.argmax(axis=1), CLASSES, shares, resamples=500).as_record()
    return RunContents(
        config=config_of(CLASSES),
        metrics={
            "protocol": "set/2/random-8:1:1/seed-0",
            "scores": {"test": record},
            "selected": {"epoch": epoch},
        },
        history=[{"epoch": 1, "val_loss": float(probabilities[0])}],
        model={},
        predictions=predictions_of(ids, ["test"] * len(ids), names, shares, CLASSES),
        split=b"",
    )


def answer(tmp_path, change, epoch=1):
    """The answer about a run of 400 posts, 75 % right, whose probabilities were changed."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    right = generator.random(400) < 0.75
    probabilities = np.where(right == (labels == 1), 0.8, 0.2)
    run = run_of(tmp_path / "run", probabilities, labels)
    return compare_with(run, contents_with(change(probabilities, right), labels, epoch))


def flipped(probabilities, places):
    changed = probabilities.copy()
    changed[places] = 1 - changed[places]
    return changed


def test_the_last_decimal_is_the_same(tmp_path):
    done = answer(tmp_path, lambda p, _: p + 1e-6)
    assert done.answer is Answer.SAME
    assert done.largest_difference == pytest.approx(1e-6)


def test_another_epoch_is_not_the_same(tmp_path):
    assert answer(tmp_path, lambda p, _: p, epoch=2).answer is Answer.NOISE


def test_small_differences_are_noise(tmp_path):
    done = answer(tmp_path, lambda p, _: p + 0.01)
    assert done.answer is Answer.NOISE
    assert (done.other_predictions, done.mcnemar_p) == (0, 1)
    assert done.largest_difference == pytest.approx(0.01)
    assert done.history_difference == {"epoch": 0, "val_loss": pytest.approx(0.01)}


def test_few_predictions_either_way_are_noise(tmp_path):
    def change(p, right):
        return flipped(p, [*np.flatnonzero(right)[:5], *np.flatnonzero(~right)[:5]])

    done = answer(tmp_path, change)
    assert done.answer is Answer.NOISE
    assert done.other_predictions == 10
    assert done.equivalence["accuracy"].difference == pytest.approx(0)


def test_predictions_that_got_worse_by_a_little_are_different(tmp_path):
    """Eight posts lost and none won: within the margin, but McNemar's test sees it."""
    done = answer(tmp_path, lambda p, right: flipped(p, np.flatnonzero(right)[:8]))
    assert done.equivalence["accuracy"].shown
    assert done.mcnemar_p < 0.05
    assert done.answer is Answer.DIFFERENT


def test_equal_scores_of_other_predictions_are_different(tmp_path):
    """A head that is right about other posts is not the same head."""

    def change(p, right):
        return flipped(p, [*np.flatnonzero(right)[:100], *np.flatnonzero(~right)])

    done = answer(tmp_path, change)
    assert done.mcnemar_p > 0.05
    assert not done.equivalence["accuracy"].shown
    assert done.answer is Answer.DIFFERENT
    assert "not within" in " ".join(done.table_notes())


@pytest.mark.parametrize(("lost", "won"), [(5, 5), (2, 0), (18, 0), (30, 30), (90, 90), (40, 5)])
def test_equivalence_is_that_of_statsmodels(tmp_path, lost, won):
    """The paired bootstrap's intervals decide as the two one-sided t-tests do."""
    kept = {}

    def change(p, right):
        kept["then"] = right
        kept["now"] = right.copy()
        places = [*np.flatnonzero(right)[:lost], *np.flatnonzero(~right)[:won]]
        kept["now"][places] = ~right[places]
        return flipped(p, places)

    found = answer(tmp_path, change).equivalence["accuracy"]
    then, now = (kept[name].astype(float) for name in ("then", "now"))
    p_value, *_ = ttost_paired(now, then, -found.margin, found.margin)
    assert not 0.03 < p_value < 0.08, "too close to the level to tell"
    assert found.shown == (p_value < 0.05)
    assert found.difference == pytest.approx((won - lost) / 400)


def test_predictions_for_other_posts_are_refused(make_run):
    run = make_run()
    path = run.path / "predictions.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows[:-1])
    with pytest.raises(RunError, match="not for the posts of its split"):
        again(run)
