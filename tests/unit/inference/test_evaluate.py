"""A run scored again is exactly what it was, or says what has changed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mvsa_pipe.errors import CacheError, DataError, RunError, SplitError
from mvsa_pipe.experiment.options import DataChoice
from mvsa_pipe.extraction.contents import UnreadablePostsError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.inference.evaluate import evaluate
from mvsa_pipe.inference.options import InferenceOptions
from mvsa_pipe.posts import ReadOptions
from mvsa_pipe.posts.synthetic import SyntheticConfig, write_synthetic
from mvsa_pipe.progress import Silence
from mvsa_pipe.runs import open_run

OPTIONS = InferenceOptions(device="cpu")
SKIP = replace(OPTIONS, on_bad_post=BadPostPolicy.SKIP)


class Lines(Silence):
    """Keeps what was started."""

    def __init__(self):
        self.started = []

    def start(self, what, total):
        self.started.append((what, total))


def score(run, options=OPTIONS, progress=None, read=None):
    return evaluate(run, options, progress or Silence(), read)


def recorded(run, part):
    return run.metrics["scores"][part]


def found(run, options=OPTIONS):
    return json.loads(json.dumps(score(run, options).scores.as_record()))


def add_post(folder, post_id, like, label="positive,positive"):
    for suffix in ("jpg", "txt"):
        shutil.copy(folder / "data" / f"{like}.{suffix}", folder / "data" / f"{post_id}.{suffix}")
    with (folder / "labelResultAll.txt").open("a") as file:
        file.write(f"{post_id}\t{label}\n")


@pytest.mark.parametrize("head", ["native-cat", "text", "ote-faithful", "logistic"])
@pytest.mark.parametrize("part", ["val", "test"])
def test_a_run_scores_exactly_as_it_did(make_run, head, part):
    run = make_run(head)
    assert found(run, replace(OPTIONS, part=part)) == recorded(run, part)


def test_the_predictions_are_those_of_the_run(make_run):
    run = make_run()
    rows = score(run, replace(OPTIONS, part="test")).predictions
    lines = (run.path / "predictions.csv").read_text().splitlines()[1:]
    shares = [",".join(f"{share:.6f}" for share in row.probabilities) for row in rows]
    ours = [
        f"{row.post_id},test,{row.label},{row.prediction},{cells}"
        for row, cells in zip(rows, shares, strict=True)
    ]
    assert ours == [line for line in lines if ",test," in line]


def test_test_is_scored_unless_told_and_val_where_there_is_no_test(make_run):
    assert score(make_run()).part == "test"
    assert score(make_run(data=DataChoice(split="random-8:2"))).part == "val"


def test_a_run_scores_alike_after_the_cache_was_made_again(make_run):
    run = make_run()
    shutil.rmtree("cache")
    progress = Lines()
    again = score(run, progress=progress)
    assert json.loads(json.dumps(again.scores.as_record())) == recorded(run, "test")
    assert [total for _, total in progress.started] == [100, 100]


def test_a_run_scores_alike_from_another_folder(make_run, tmp_path, monkeypatch):
    run = open_run(make_run().path.resolve())
    cache = Path("cache").resolve()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert found(run, replace(OPTIONS, cache=cache)) == recorded(run, "test")


def test_a_run_finds_its_posts_where_they_were_moved_to(make_run):
    run = make_run()
    Path("data").rename("moved")
    with pytest.raises(DataError, match="nothing at this path"):
        score(run)
    assert found(run, replace(OPTIONS, data=Path("moved"))) == recorded(run, "test")


def test_posts_added_since_change_no_part(make_run):
    """A random split drawn again would test on posts that the head was trained on."""
    run = make_run()
    add_post(Path("data"), "901", "1")
    add_post(Path("data"), "902", "2")
    progress = Lines()
    assert json.loads(json.dumps(score(run, progress=progress).scores.as_record())) == recorded(
        run, "test"
    )
    assert progress.started == []
    everything = score(run, replace(OPTIONS, part="all"))
    assert everything.scores.posts == 102
    assert everything.protocol.endswith("/all")


def test_labels_changed_since_are_counted(make_run):
    run = make_run()
    tested = next(member.post_id for member in run.members() if member.split == "test")
    path = Path("data/labelResultAll.txt")
    label = next(m.label for m in run.members() if m.post_id == tested)
    other = "neutral" if label != "neutral" else "positive"
    lines = [
        f"{tested}\t{other},{other}" if line.startswith(f"{tested}\t") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    again = score(run)
    assert again.relabelled == (tested,)
    assert again.as_record()["relabelled"] == [tested]
    assert [row.post_id for row in again.predictions] == [
        member.post_id for member in run.members() if member.split == "test"
    ]


def test_posts_removed_since_are_named(make_run):
    run = make_run()
    tested = next(member.post_id for member in run.members() if member.split == "test")
    path = Path("data/labelResultAll.txt")
    lines = [x for x in path.read_text().splitlines() if not x.startswith(f"{tested}\t")]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(SplitError, match=rf"1 of its \d+ posts are missing: {tested}\b"):
        score(run)


def test_what_training_skipped_is_left_out_again(make_run):
    from mvsa_pipe.backbones.options import BackboneOptions
    from mvsa_pipe.extraction.extract import extract
    from mvsa_pipe.extraction.options import ExtractOptions
    from mvsa_pipe.posts import read_posts

    whole = make_run()
    tested = next(member.post_id for member in whole.members() if member.split == "test")
    (Path("data/data") / f"{tested}.jpg").write_bytes(b"no picture")
    how = ExtractOptions(cache=Path("cache"), on_bad_post=BadPostPolicy.SKIP)
    extract(read_posts(Path("data")), BackboneOptions("tiny-image"), how, Silence())
    run = make_run()
    assert run.metrics["left_out"] == [tested]
    assert found(run) == recorded(run, "test")
    with pytest.raises(UnreadablePostsError, match=rf"{tested}: A file is no picture"):
        score(whole)
    skipped = score(whole, SKIP)
    assert skipped.left_out == {tested: "A file is no picture"}
    assert skipped.scores.posts == recorded(whole, "test")["posts"] - 1


def test_other_posts_are_extracted_and_scored_whole(make_run):
    run = make_run()
    write_synthetic(Path("other"), SyntheticConfig(posts=40, seed=5, image_px=32))
    progress = Lines()
    done = score(run, replace(OPTIONS, data=Path("other")), progress)
    assert (done.part, done.scores.posts) == ("all", 40)
    assert [total for _, total in progress.started] == [40, 40]
    assert "/40@" in done.protocol
    assert done.protocol.endswith("/all")
    again = Lines()
    assert score(run, replace(OPTIONS, data=Path("other")), again).scores == done.scores
    assert again.started == []


def test_other_posts_have_no_part_of_the_runs_split(make_run):
    run = make_run()
    write_synthetic(Path("other"), SyntheticConfig(posts=40, seed=5, image_px=32))
    with pytest.raises(SplitError, match="leave --split out"):
        score(run, replace(OPTIONS, data=Path("other"), part="test"))


def test_other_classes_are_refused(make_run):
    run = make_run()
    table = Path("other.csv")
    rows = [f"{n},words,data/data/{n}.jpg,{'good' if n % 2 else 'bad'}" for n in range(1, 5)]
    table.write_text("\n".join(["id,text,image,label", *rows]) + "\n")
    with pytest.raises(RunError, match=r"negative, neutral, positive.*Found bad, good"):
        score(run, replace(OPTIONS, data=table))


def test_posts_may_be_read_otherwise_than_the_runs_own(make_run):
    run = make_run()
    rows = [
        f"{n},words,data/data/{n}.jpg,{['negative', 'neutral', 'positive'][n % 3]}"
        for n in range(1, 7)
    ]
    Path("other.csv").write_text("\n".join(["id,text,image,mood", *rows]) + "\n")
    options = replace(OPTIONS, data=Path("other.csv"))
    assert score(run, options, read=ReadOptions(label_column="mood")).scores.posts == 6


@pytest.mark.parametrize("part", ["nonsense", "", "Test"])
def test_an_unknown_part_is_refused(make_run, part):
    with pytest.raises(SplitError, match="train, val, test or all"):
        score(make_run(), replace(OPTIONS, part=part))


def test_a_part_without_posts_is_refused(make_run):
    run = make_run(data=DataChoice(split="random-8:2"))
    with pytest.raises(SplitError, match=r"no posts in its part 'test'.*train, val"):
        score(run, replace(OPTIONS, part="test"))


def test_a_checkpoint_of_another_shape_is_refused(make_run):
    run = make_run()
    path = run.path / "head.safetensors"
    state = load_file(path)
    name = next(key for key in state if state[key].dim() == 2)
    save_file(state | {name: state[name][:, :1].clone()}, path)
    with pytest.raises(RunError, match="does not fit head 'native-cat'"):
        score(run)


def test_weights_that_changed_since_are_refused(make_run):
    run = make_run()
    shutil.rmtree("cache")
    record = json.loads((run.path / "config.json").read_text())
    fingerprint = json.loads(record["caches"]["text"]["fingerprint"])
    fingerprint["weights"] = "0" * 32
    record["caches"]["text"]["fingerprint"] = json.dumps(fingerprint)
    (run.path / "config.json").write_text(json.dumps(record))
    with pytest.raises(CacheError, match="weights is"):
        score(open_run(run.path))
