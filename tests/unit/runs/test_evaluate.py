"""A run scored again is exactly what it was, or says what has changed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mvsa_pipe.errors import CacheError, DataError, RunError, SplitError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.posts import ReadOptions
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.evaluate import evaluate
from mvsa_pipe.runs.options import DataChoice, InferenceOptions

OPTIONS = InferenceOptions(device="cpu")
SKIP = replace(OPTIONS, on_bad_post=BadPostPolicy.SKIP)


class Lines(NoProgress):
    """Keeps what was started."""

    def __init__(self):
        self.started = []

    def start(self, what, total, *_, **__):
        self.started.append((what, total))


def score(run, options=OPTIONS, progress=None, read=None):
    return evaluate(run, options, progress or NoProgress(), read)


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


def relabel(post_id, label):
    path = Path("data/labelResultAll.txt")
    lines = [
        f"{post_id}\t{label},{label}" if line.startswith(f"{post_id}\t") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


def forget_contents(run):
    """Makes a run one of 0.1, which recorded neither contents nor a digest of its posts."""
    path = run.path / "split.csv"
    lines = [",".join(line.split(",")[:3]) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    record = json.loads((run.path / "config.json").read_text())
    del record["data"]["digest"]
    (run.path / "config.json").write_text(json.dumps(record))
    return open_run(run.path)


@pytest.fixture(params=["new", "old"])
def run_and_test_post(request, make_run):
    run = make_run()
    tested = next(member for member in run.members() if member.split == "test")
    return run if request.param == "new" else forget_contents(run), tested


def test_a_run_records_what_its_head_read(make_run):
    for head, halves in (("native-cat", {"text", "image"}), ("text", {"text"})):
        members = make_run(head).members()
        assert all(set(member.contents) == halves for member in members)
        assert all(len(d) == 16 for member in members for d in member.contents.values())


def test_an_old_run_scores_as_it_did(make_run):
    run = forget_contents(make_run())
    assert run.members()[0].contents == {}
    assert found(run) == recorded(run, "test")
    Path("data").rename("moved")
    assert found(run, replace(OPTIONS, data=Path("moved"))) == recorded(run, "test")


def test_labels_changed_since_are_refused(run_and_test_post):
    run, tested = run_and_test_post
    relabel(tested.post_id, "neutral" if tested.label != "neutral" else "positive")
    said = rf"1 of its 10 posts have another label now: {tested.post_id}\..*--split all"
    with pytest.raises(SplitError, match=said):
        score(run)
    everything = score(run, replace(OPTIONS, part="all"))
    assert (everything.part, everything.scores.posts) == ("all", 100)
    assert len(everything.known) == 90
    with pytest.raises(SplitError, match="leave --split out"):
        score(run, replace(OPTIONS, data=Path("data"), part="test"))
    unseen = score(run, replace(OPTIONS, data=Path("data")))
    assert (unseen.part, unseen.scores.posts, len(unseen.left_out)) == ("unseen", 10, 90)
    assert unseen.protocol.endswith("/unseen")
    assert set(unseen.left_out.values()) == {"the run was trained or selected on it"}


def test_posts_removed_since_are_named(run_and_test_post):
    run, tested = run_and_test_post
    path = Path("data/labelResultAll.txt")
    lines = [x for x in path.read_text().splitlines() if not x.startswith(f"{tested.post_id}\t")]
    path.write_text("\n".join(lines) + "\n")
    said = rf"1 of its 10 posts are missing: {tested.post_id}\b"
    with pytest.raises(SplitError, match=said):
        score(run)


@pytest.mark.parametrize("half", ["text", "image"])
def test_contents_changed_since_are_refused(make_run, half):
    run = make_run()
    tested = next(member.post_id for member in run.members() if member.split == "test")
    if half == "text":
        Path(f"data/data/{tested}.txt").write_text("something else entirely")
    else:
        other = next(m.post_id for m in run.members() if m.post_id != tested)
        shutil.copy(f"data/data/{other}.jpg", f"data/data/{tested}.jpg")
    with pytest.raises(SplitError, match=rf"1 of its 10 posts have another {half} now: {tested}"):
        score(run)


def test_a_head_of_text_does_not_mind_other_pictures(make_run):
    run = make_run("text")
    for path in Path("data/data").glob("*.jpg"):
        path.write_bytes(b"no picture")
    assert found(run) == recorded(run, "test")


def table_of(members):
    """Posts of a run under other ids, as the path of a table."""
    rows = [
        {
            "id": f"n{member.post_id}",
            "text": Path(f"data/data/{member.post_id}.txt").read_text(),
            "image": f"data/data/{member.post_id}.jpg",
            "label": member.label,
        }
        for member in members
    ]
    Path("other.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Path("other.jsonl")


def test_posts_that_the_run_knows_are_left_out_under_whatever_id(make_run):
    """A table of other ids, of which some rows are those that the run was trained on."""
    run = make_run()
    used = [member for member in run.members() if member.split != "test"][:5]
    tested = [member for member in run.members() if member.split == "test"]
    options = replace(OPTIONS, data=table_of([*used, *tested]))
    seen = sorted(f"n{member.post_id}" for member in used)
    done = score(run, options)
    assert sorted(done.left_out) == seen
    assert done.scores.posts == 10
    whole = score(run, replace(options, part="all"))
    assert whole.scores.posts == 15
    assert sorted(whole.known) == seen
    assert whole.as_record()["known"] == list(whole.known)


def test_a_run_that_knows_all_of_them_says_so(make_run):
    run = make_run()
    used = next(member for member in run.members() if member.split == "train")
    with pytest.raises(SplitError, match=r"every one of these posts.*--split all"):
        score(run, replace(OPTIONS, data=table_of([used])))


def test_posts_that_lack_a_class_are_scored_over_the_classes_of_the_run(make_run):
    run = make_run()
    rows = [
        f"{n},words {n},data/data/{n}.jpg,{'negative' if n % 2 else 'positive'}" for n in (1, 2)
    ]
    Path("other.csv").write_text("\n".join(["id,text,image,label", *rows]) + "\n")
    done = score(run, replace(OPTIONS, data=Path("other.csv")))
    assert done.absent_classes == ("neutral",)
    assert done.as_record()["absent_classes"] == ["neutral"]
    assert done.scores.classes == ("negative", "neutral", "positive")
    assert done.scores.per_class["neutral"]["support"] == 0
    assert len(done.predictions[0].probabilities) == 3


def test_what_training_skipped_is_left_out_again(make_run):
    from mvsa_pipe.backbones.options import BackboneOptions
    from mvsa_pipe.extraction.extract import extract
    from mvsa_pipe.extraction.options import ExtractOptions
    from mvsa_pipe.posts import read_posts

    whole = make_run()
    tested = next(member.post_id for member in whole.members() if member.split == "test")
    (Path("data/data") / f"{tested}.jpg").write_bytes(b"no picture")
    how = ExtractOptions(cache=Path("cache"), on_bad_post=BadPostPolicy.SKIP)
    extract(read_posts(Path("data")), BackboneOptions("tiny-image"), how, NoProgress())
    run = make_run()
    assert run.metrics["left_out"] == [tested]
    assert found(run) == recorded(run, "test")
    with pytest.raises(SplitError, match=rf"1 of its 10 posts have another image now: {tested}"):
        score(whole, SKIP)
    (Path("data/data") / f"{tested}.jpg").unlink()
    with pytest.raises(UnreadablePostsError, match=rf"{tested}: "):
        score(whole)
    skipped = score(whole, SKIP)
    assert list(skipped.left_out) == [tested]
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
    with pytest.raises(
        RunError, match=r"4 of these posts.*negative, neutral, positive.*Found bad, good"
    ):
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
