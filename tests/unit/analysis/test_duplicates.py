"""Posts that are alike: known groups are found, and nothing else where nothing is alike."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from analysed_runs import RunMaker

from mvsa_pipe.analysis.alike import alike
from mvsa_pipe.analysis.duplicates import duplicates
from mvsa_pipe.analysis.leaks import NEAR_PICTURE
from mvsa_pipe.analysis.options import DuplicatesOptions
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import RunError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic.write import SyntheticConfig, write_synthetic
from mvsa_pipe.progress import NoProgress

OPTIONS = DuplicatesOptions(resamples=50)
IDS = [f"post {n}" for n in range(40)]


def finder(**parts):
    nothing = {"keys": {}, "hashes": {}, "directions": {}, "unchecked": {}, "near_cosine": 0.95}
    return SimpleNamespace(**(nothing | parts))


def test_equal_keys_and_chains_of_near_ones_are_one_group():
    hashes = {"post 2": 0b0, "post 3": 0b111111, "post 4": 0b111111_111111, "post 5": 2**63 - 1}
    keys = {"post 0": "a", "post 1": "a", "post 2": "b", "post 7": "b", "post 9": "c"}
    found = alike(finder(keys={"same text": keys}, hashes=hashes), IDS)
    assert found.pairs["same text"].tolist() == [[0, 1], [2, 7]]
    assert found.pairs[NEAR_PICTURE].tolist() == [[2, 3], [3, 4]]
    assert found.groups(len(IDS)) == [[2, 3, 4, 7], [0, 1]]
    assert found.groups(len(IDS), ["same text"]) == [[0, 1], [2, 7]]


@pytest.mark.parametrize("posts", [40, 1500])  # more than are compared at a time
def test_near_vectors_are_those_of_a_matrix_of_cosines(posts):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(posts, 64)).astype(np.float32)
    vectors[posts - 1] = vectors[3] + 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"post {n}" for n in range(posts)]
    rows = {post_id: row for row, post_id in enumerate(ids)}
    found = alike(finder(directions={"near": [(rows, vectors)]}), ids)
    assert found.pairs["near"].tolist() == [[3, posts - 1]]
    assert np.argwhere(np.triu(vectors @ vectors.T >= 0.95, 1)).tolist() == [[3, posts - 1]]


def test_vectors_that_do_not_tell_posts_apart_are_not_compared():
    same = np.ones((40, 2), np.float32) / np.sqrt(2)
    rows = {post_id: row for row, post_id in enumerate(IDS)}
    found = alike(finder(directions={"near": [(rows, same)]}), IDS)
    assert "do not tell posts apart" in found.unchecked["near"]
    assert not found.pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run over synthetic posts, of which two have copies with another label."""
    root = tmp_path_factory.mktemp("duplicates")
    write_synthetic(root / "data", SyntheticConfig(posts=60, image_px=32))
    with (root / "data" / "labelResultAll.txt").open("a") as file:
        for copy, like in (("901", "1"), ("902", "2")):
            for suffix in ("jpg", "txt"):
                folder = root / "data" / "data"
                shutil.copy(folder / f"{like}.{suffix}", folder / f"{copy}.{suffix}")
            file.write(f"{copy}\tpositive,positive\n")
    posts = read_posts(root / "data")
    for name in ("tiny-text", "tiny-image"):
        extract(posts, BackboneOptions(name), ExtractOptions(cache=root / "cache"), NoProgress())
    return RunMaker(root, "random-4:2:4")("logistic")


def test_copies_are_found_with_their_labels(run):
    found = duplicates([run], OPTIONS, NoProgress())
    groups = [{*group} for group in found.values["groups"]]
    assert any({"1", "901"} <= group for group in groups)
    assert any({"2", "902"} <= group for group in groups)
    labels = {m.post_id: m.label for m in run.members()}
    apart = sum(len({labels[i] for i in group}) > 1 for group in groups)
    assert found.table("posts that are alike").rows[-1][4] == apart
    in_groups = {i for group in groups for i in group}
    assert found.table("posts that are alike").rows[-1][2] == len(in_groups)


def test_shares_by_part_are_those_of_the_groups(run):
    found = duplicates([run], OPTIONS, NoProgress())
    parts = {m.post_id: m.split for m in run.members()}
    groups = found.values["groups"]
    table = found.table("posts of a part")
    for row in table.rows:
        for column, share in zip(table.columns[2:], row[2:], strict=True):
            other = column.removeprefix("in ")
            count = sum(
                parts[i] == row[0] and any(parts[j] == other for j in group if j != i)
                for group in groups
                for i in group
            )
            assert share.value == pytest.approx(count / row[1])
            assert share.low <= share.value <= share.high


def test_a_run_without_its_posts_is_compared_by_what_it_recorded(run):
    data = run.path.parents[1] / "data"
    data.rename(data.with_name("moved"))
    try:
        found = duplicates([run], OPTIONS, NoProgress())
    finally:
        data.with_name("moved").rename(data)
    assert any("Not compared" in line for line in found.method)
    assert any({"1", "901"} <= {*group} for group in found.values["groups"])


def test_nothing_to_compare_is_an_error(run, monkeypatch):
    monkeypatch.setattr(
        "mvsa_pipe.analysis.duplicates.LeakFinder",
        lambda *_: finder(unchecked={"same text": "there is nothing"}),
    )
    with pytest.raises(RunError, match="Nothing of this run's posts can be compared"):
        duplicates([run], OPTIONS, NoProgress())
