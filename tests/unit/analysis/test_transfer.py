"""Scores across data sets: known answers, shared posts left out, classes by name."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysed_runs import RunMaker, copied

from mvsa_pipe.analysis.finding import Estimate, Finding, MatrixPlot
from mvsa_pipe.analysis.options import TransferOptions
from mvsa_pipe.analysis.same_heads import differing, head_settings, same_head
from mvsa_pipe.analysis.transfer import transfer
from mvsa_pipe.errors import ConfigError, SplitError
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.synthetic.write import SyntheticConfig, write_synthetic
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.evaluate import evaluate
from mvsa_pipe.runs.options import InferenceOptions

SWAPPED = {"positive": "negative", "negative": "positive", "neutral": "neutral"}
Rename = Callable[[str], str]


@pytest.fixture(scope="module")
def make(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """Makes runs over the synthetic posts."""
    return copied(pipeline, tmp_path_factory.mktemp("transfer"))


@pytest.fixture(scope="module")
def run(make: RunMaker) -> Run:
    return make("native-cat", epochs=8)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other posts of the same kind."""
    root = tmp_path_factory.mktemp("others") / "data"
    write_synthetic(root, SyntheticConfig(posts=60, image_px=32, seed=9))
    return root


def table_of(posts: PostSet, folder: Path, name: str, rename: Rename = str) -> Path:
    """The same posts as a table, with classes renamed."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "image", "label"])
        for post in posts.posts:
            assert post.image is not None
            (folder / f"{post.id}.jpg").write_bytes(posts.storage.read(post.image))
            writer.writerow([post.id, post.text, f"{post.id}.jpg", rename(str(post.label))])
    return folder / f"{name}.csv"


def options(make: RunMaker, *data: Path, **more: object) -> TransferOptions:
    paths = tuple(map(str, data))
    return TransferOptions(
        data=paths, cache=make.root / "cache", resamples=200, device="cpu", **more  # type: ignore
    )  # fmt: skip


def score_on(finding: Finding, scored: str, trained: str = "synthetic-100") -> Estimate:
    (row,) = (
        row
        for row in finding.table("accuracy").rows
        if str(row[1]).startswith(trained) and str(row[2]).startswith(scored)
    )
    assert isinstance(row[3], Estimate)
    return row[3]


def test_the_score_on_other_posts_is_that_of_evaluate(
    run: Run, make: RunMaker, others: Path
) -> None:
    found = transfer([run], options(make, others), NoProgress())
    asked = InferenceOptions(data=others, part="all", cache=make.root / "cache", device="cpu")
    expected = evaluate(run, asked, NoProgress()).scores.values["accuracy"]
    shown = score_on(found, "synthetic-60")
    assert shown.value == pytest.approx(expected)
    assert shown.low <= shown.value <= shown.high
    recorded = run.metrics["scores"]["test"]["values"]["accuracy"]
    assert score_on(found, "synthetic-100").value == pytest.approx(recorded)
    (plot,) = found.plots
    assert isinstance(plot, MatrixPlot)
    assert plot.values == [[pytest.approx(recorded), pytest.approx(expected)]]


def test_swapped_classes_are_mapped_by_name(
    run: Run, make: RunMaker, others: Path, tmp_path: Path
) -> None:
    """Where classes mean the opposite, the score is that of swapped predictions."""
    posts = read_posts(others)
    opposite = table_of(posts, tmp_path / "opposite", "opposite", SWAPPED.__getitem__)
    renamed = table_of(posts, tmp_path / "renamed", "renamed", lambda name: f"is-{name}")
    pairs = tuple(f"is-{name}={name}" for name in SWAPPED)
    found = transfer([run], options(make, others, opposite, renamed, map=pairs), NoProgress())
    asked = InferenceOptions(data=others, part="all", cache=make.root / "cache", device="cpu")
    rows = evaluate(run, asked, NoProgress()).predictions
    right = np.mean([row.prediction == row.label for row in rows])
    wrong = np.mean([row.prediction == SWAPPED[row.label] for row in rows])
    assert score_on(found, "opposite").value == pytest.approx(wrong)
    assert score_on(found, "renamed").value == pytest.approx(right)


def test_shared_posts_are_left_out(run: Run, make: RunMaker, others: Path, tmp_path: Path) -> None:
    """Twelve training posts under other ids, and one text of them with another picture."""
    posts = read_posts(make.root / "data")
    train = {m.post_id for m in run.members() if m.split == "train"}
    shutil.copytree(others, tmp_path / "mixed")
    label_file = tmp_path / "mixed" / "labelResultAll.txt"
    shared = [post for post in posts.posts if post.id in train][:13]
    lines = label_file.read_text().rstrip("\n").split("\n")
    for number, post in enumerate(shared):
        stem = tmp_path / "mixed" / "data" / f"{900 + number}"
        text = str(post.text) if number < 12 else f"RT @someone: {post.text}".upper()
        stem.with_suffix(".txt").write_text(text)
        assert post.image is not None
        source = post if number < 12 else None
        data = posts.storage.read(source.image) if source and source.image else (
            tmp_path / "mixed" / "data" / "1.jpg"
        ).read_bytes()  # fmt: skip
        stem.with_suffix(".jpg").write_bytes(data)
        lines.append(f"{900 + number}\t{post.label},{post.label}")
    label_file.write_text("\n".join(lines) + "\n")
    (tmp_path / "mixed" / "mvsa.json").write_text('{"name": "mixed"}')
    found = transfer([run], options(make, tmp_path / "mixed"), NoProgress())
    (row,) = (r for r in found.table("scored posts").rows if r[1] == "mixed")
    alike = {int(i) for i in range(900, 913)}
    assert row[2] == 73
    assert row[3] == len(alike)
    assert "13 same text" in str(row[4])
    assert int(str(row[5])) > 0  # both number their posts from 1
    only = [post.id for post in read_posts(tmp_path / "mixed").posts if int(post.id) not in alike]
    asked = InferenceOptions(data=others, part="all", cache=make.root / "cache", device="cpu")
    expected = evaluate(run, asked, NoProgress()).scores.values["accuracy"]
    assert len(only) == 60
    assert score_on(found, "mixed").value == pytest.approx(expected)


def test_runs_of_several_data_sets_make_a_matrix(
    run: Run, make: RunMaker, others: Path, tmp_path: Path
) -> None:
    shutil.copytree(others, tmp_path / "data")
    shutil.copytree(make.root / "cache", tmp_path / "cache")
    from mvsa_pipe.backbones.options import BackboneOptions
    from mvsa_pipe.extraction.extract import extract
    from mvsa_pipe.extraction.options import ExtractOptions

    posts = read_posts(tmp_path / "data")
    for name in ("tiny-text", "tiny-image"):
        where = ExtractOptions(cache=tmp_path / "cache")
        extract(posts, BackboneOptions(name), where, NoProgress())
    other = RunMaker(tmp_path, "random-1:1:1")("native-cat", epochs=4)
    found = transfer([run, other], options(RunMaker(tmp_path)), NoProgress())
    (plot,) = found.plots
    assert isinstance(plot, MatrixPlot)
    assert np.shape(plot.values) == (2, 2)
    assert None not in [value for row in plot.values for value in row]
    losses = [row for row in found.table("accuracy").rows if row[4] is not None]
    assert len(losses) == 2
    for row in losses:
        native = score_on(found, str(row[2]), str(row[2]))
        assert isinstance(row[4], Estimate)
        assert row[4].value == pytest.approx(row[3].value - native.value)  # type: ignore
        assert 0 < float(str(row[5])) <= 1
    assert "were trained with other options: epochs 8 and 4." in " ".join(found.verdict)
    narrow = RunMaker(tmp_path, "random-1:1:1")("native-cat", epochs=4, options={"hidden": 16})
    found = transfer([run, narrow], options(RunMaker(tmp_path)), NoProgress())
    assert "p" not in found.table("accuracy").columns  # nothing is paired
    assert "are different heads, and are not paired: hidden 128 and 16." in " ".join(found.verdict)
    for row in found.table("accuracy").rows:
        if row[4] is not None:
            own = score_on(found, str(row[1]), str(row[1]))
            assert isinstance(row[4], Estimate)
            assert row[4].value == pytest.approx(row[3].value - own.value)  # type: ignore
    found = transfer([run, narrow, other], options(RunMaker(tmp_path)), NoProgress())
    paired = [row for row in found.table("accuracy").rows if row[5] is not None]
    assert len(paired) == 2  # run and other, both ways


def with_config(run: Run, **changes: object) -> Run:
    return replace(run, config=run.config | changes)


def test_heads_of_one_name_are_told_apart(run: Run) -> None:
    longer = with_config(run, training=run.config["training"] | {"epochs": 99})
    again = with_config(run, training=run.config["training"] | {"seed": 9, "device": "cuda"})
    mine, newer = (with_config(run, head_source={"sha256": digest}) for digest in "ab")
    assert same_head(run, [longer]) == 0  # the only one
    assert same_head(run, [longer, again]) == 1
    assert same_head(run, [longer, longer]) is None
    assert same_head(mine, [run, newer]) is None
    assert same_head(mine, [newer, mine]) == 1
    assert differing(head_settings(mine), head_settings(newer)) == ["another class"]
    assert differing(head_settings(run), head_settings(mine)) == ["another class"]
    cached = run.config["caches"]
    text = cached["text"] | {"fingerprint": "another"}
    other = with_config(run, caches=cached | {"text": text})
    assert differing(head_settings(run), head_settings(other)) == ["backbones"]
    assert same_head(run, [other]) is None


def test_what_cannot_be_transferred_is_refused(
    run: Run, make: RunMaker, others: Path, tmp_path: Path
) -> None:
    posts = read_posts(others)
    strange = table_of(posts, tmp_path / "strange", "strange", lambda name: f"is-{name}")
    with pytest.raises(ConfigError, match="classes that a run does not know") as caught:
        transfer([run], options(make, strange), NoProgress())
    assert "--map is-negative=negative" in caught.value.paragraph()
    with pytest.raises(ConfigError, match="happy=positive"):
        transfer([run], options(make, strange, map=("is-negative",)), NoProgress())
    with pytest.raises(ConfigError, match="no other data set"):
        transfer([run], options(make), NoProgress())
    train = {m.post_id for m in run.members() if m.split == "train"}
    own = read_posts(make.root / "data")
    kept = tuple(post for post in own.posts if post.id in train)
    seen = table_of(PostSet(own.name, own.classes, kept, own.storage), tmp_path / "seen", "seen")
    with pytest.raises(SplitError, match="Every post of seen duplicates a training post"):
        transfer([run], options(make, seen), NoProgress())
