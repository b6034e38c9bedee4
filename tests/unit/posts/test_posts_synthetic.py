"""Synthetic posts: the best possible accuracy is known, and what is written bears it out."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.posts import random_split, read_posts
from mvsa_pipe.posts.check import check_posts
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.readers.mvsa import NEUTRAL, consolidate
from mvsa_pipe.posts.synthetic.ceilings import Ceilings, scored_ceilings
from mvsa_pipe.posts.synthetic.config import Relation, SyntheticConfig
from mvsa_pipe.posts.synthetic.relations import JOINT, Cues, outcomes
from mvsa_pipe.posts.synthetic.write import bayes_accuracy, realised_ceilings, write_synthetic

SMALL = SyntheticConfig(posts=300, image_px=32)
ADDITIVE = Relation.ADDITIVE


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "small", SMALL)


def test_the_joint_is_a_distribution_without_opposing_pairs():
    assert sum(JOINT.values()) == pytest.approx(1)
    assert len(JOINT) == 7
    assert all(consolidate(*pair) is not None for pair in JOINT)
    for noise in (0.0, 0.05, 0.5):
        assert sum(p for _, p in outcomes(ADDITIVE, 1.0, noise)) == pytest.approx(1)


def test_without_ambiguity_the_numbers_are_those_worked_out_by_hand():
    ceilings = bayes_accuracy(SyntheticConfig(noise=0.0))
    # Text alone: polar words (0.26 each way) settle the label; without any, the best guess is
    # one polar label, 0.18 of 0.48.
    assert ceilings == Ceilings(
        text=pytest.approx(0.70), image=pytest.approx(0.70),
        fused=pytest.approx(1.0), majority=pytest.approx(0.44),
        additive=pytest.approx(1.0), pooled=pytest.approx(1.0),
    )  # fmt: skip


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_bayes_accuracy_against_monte_carlo(noise):
    generator = np.random.default_rng(0)
    n = 200_000
    pairs = list(JOINT)
    drawn = generator.choice(len(pairs), size=n, p=list(JOINT.values()))
    unclear = generator.random((n, 2)) < noise
    counts = Counter(
        zip(drawn.tolist(), unclear[:, 0].tolist(), unclear[:, 1].tolist(), strict=True)
    )
    seen = {"text": Counter(), "image": Counter(), "fused": Counter(), "majority": Counter()}
    for (pair, no_text, no_image), count in counts.items():
        text, image = pairs[pair]
        label = consolidate(text, image)
        text, image = (NEUTRAL if no_text else text), (NEUTRAL if no_image else image)
        for view, cue in {
            "text": text,
            "image": image,
            "fused": (text, image),
            "majority": 0,
        }.items():
            seen[view][cue, label] += count
    ceilings = bayes_accuracy(SyntheticConfig(noise=noise))
    for view, table in seen.items():
        best = Counter()
        for (cue, _), count in table.items():
            best[cue] = max(best[cue], count)
        # 200,000 draws: a standard error of about 0.001.
        assert getattr(ceilings, view) == pytest.approx(best.total() / n, abs=0.005)


def test_fusing_pays_and_ambiguity_costs():
    clear, dim = (bayes_accuracy(SyntheticConfig(noise=a)) for a in (0.05, 0.2))
    for ceilings in (clear, dim):
        assert ceilings.majority < ceilings.text < ceilings.fused < 1
        assert ceilings.text == pytest.approx(ceilings.image)
    assert dim.fused < clear.fused


def test_what_is_written_reads_as_mvsa(written):
    posts = read_posts(written.folder)
    assert posts.name == written.name
    assert posts.protocol == f"{written.name}/300@{posts.digest}"
    assert posts.dropped == {}
    assert len(posts) == 300
    with Image.open(written.folder / "data" / "1.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (32, 32))
    assert check_posts(posts, random_split(posts)).spoilers == ()
    assert len(set(duplicate_groups(posts))) > 295


def test_labels_and_cues_are_those_in_the_files(written):
    truth = json.loads((written.folder / "truth.json").read_text())["posts"]
    posts = read_posts(written.folder)
    for post in posts.posts:
        (pair,) = post.annotations
        cues = truth[post.id]
        assert cues["label"] == post.label == consolidate(*pair)
        assert cues["text"] in (pair[0], NEUTRAL)
        assert cues["image"] in (pair[1], NEUTRAL)
    hidden = sum(truth[p.id]["text"] != p.annotations[0][0] for p in posts.posts)
    assert 0 < hidden < 30


def test_words_and_colours_carry_their_cue(written):
    truth = json.loads((written.folder / "truth.json").read_text())["posts"]
    posts = read_posts(written.folder)
    words = {cue: Counter() for cue in ("positive", "neutral", "negative")}
    brightness = {cue: [] for cue in words}
    for post in posts.posts:
        words[truth[post.id]["text"]].update(post.text.split())
        with Image.open(written.folder / post.image) as image:
            brightness[truth[post.id]["image"]].append(np.asarray(image).mean())
    assert words["positive"]["love"]
    assert words["negative"]["hate"]
    assert not words["positive"]["hate"] + words["neutral"]["hate"] + words["neutral"]["love"]
    assert max(brightness["negative"]) < min(brightness["neutral"])
    assert np.median(brightness["neutral"]) < np.median(brightness["positive"])
    assert all(post.text.isascii() for post in posts.posts)


def test_realised_ceilings_on_all_and_on_some(written):
    assert written.expected == bayes_accuracy(SMALL)
    assert written.realised == realised_ceilings(written.folder)
    assert written.realised.fused == pytest.approx(written.expected.fused, abs=0.05)
    split = random_split(read_posts(written.folder))
    parts = [split.ids(part) for part in ("train", "val", "test")]
    scores = [realised_ceilings(written.folder, ids).text * len(ids) for ids in parts]
    assert sum(scores) / 300 == pytest.approx(written.realised.text)
    with pytest.raises(DataError, match=r"1 posts are not among.*9999"):
        realised_ceilings(written.folder, ["1", "9999"])
    with pytest.raises(DataError, match="No posts were named"):
        realised_ceilings(written.folder, [])


def test_scored_ceilings_by_hand():
    posts = [
        Cues("positive", "neutral", "positive"),
        Cues("neutral", "negative", "negative"),
        Cues("neutral", "neutral", "neutral"),
        Cues("neutral", "neutral", "positive"),
    ]
    ceilings = scored_ceilings(posts, ADDITIVE, 1.0, 0.05)
    # A neutral text alone is guessed negative, the first of two labels equally likely.
    assert ceilings == Ceilings(
        majority=0.5, text=0.5, image=0.25, additive=0.75, pooled=0.75, fused=0.75
    )


def test_the_same_configuration_writes_the_same_bytes(written, tmp_path):
    again = write_synthetic(tmp_path / "again", SMALL)
    names = {path.relative_to(written.folder) for path in written.folder.rglob("*")}
    assert names == {path.relative_to(again.folder) for path in again.folder.rglob("*")}
    for name in names:
        if (written.folder / name).is_file():
            assert (written.folder / name).read_bytes() == (again.folder / name).read_bytes()
    other = write_synthetic(tmp_path / "other", SyntheticConfig(posts=300, image_px=32, seed=1))
    assert (other.folder / "labelResultAll.txt").read_bytes() != (
        again.folder / "labelResultAll.txt"
    ).read_bytes()


def test_a_second_call_reuses_the_folder(written):
    before = (written.folder / "data" / "1.jpg").stat().st_mtime_ns
    again = write_synthetic(written.folder, SMALL)
    assert again.realised == written.realised
    assert (written.folder / "data" / "1.jpg").stat().st_mtime_ns == before


def test_something_else_in_the_folder_is_never_overwritten(tmp_path):
    config = SyntheticConfig(posts=30, image_px=16)
    (tmp_path / "set").mkdir()
    write_synthetic(tmp_path / "set", config)
    with pytest.raises(DataError, match="contains something else"):
        write_synthetic(tmp_path / "set", SyntheticConfig(posts=31, image_px=16))
    (tmp_path / "set" / "data" / "3.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="contains something else"):
        write_synthetic(tmp_path / "set", config)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="contains something else"):
        write_synthetic(tmp_path / "file", config)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mvsa_pipe.posts.synthetic.write.picture", fail)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "set", SyntheticConfig(posts=30))
    assert list(tmp_path.iterdir()) == []


def test_losing_a_race_against_the_same_posts_is_fine(tmp_path, monkeypatch):
    import mvsa_pipe.posts.synthetic.write as room

    config, write = SyntheticConfig(posts=30, image_px=16), room._write

    def write_twice(folder, config):
        write(tmp_path / "set", config)
        write(folder, config)

    monkeypatch.setattr(room, "_write", write_twice)
    assert write_synthetic(tmp_path / "set", config).name == config.name
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    "fields",
    [
        {"posts": 3},
        {"seed": -1},
        {"image_px": 8},
        {"strength": 1.1},
        {"noise": 1.0},
        {"noise": float("nan")},
    ],
)
def test_the_configuration_is_checked(fields):
    with pytest.raises(ConfigError, match=next(iter(fields)).replace("_", "-")):
        SyntheticConfig(**fields)


def test_names_tell_configurations_apart():
    assert SyntheticConfig().name == "synthetic-1200-seed-0"
    assert SyntheticConfig(posts=2000, seed=7).name == "synthetic-2000-seed-7"
    odd = {SyntheticConfig(image_px=32).name, SyntheticConfig(noise=0.1).name}
    assert len(odd) == 2
    assert all(name.startswith("synthetic-1200-seed-0-") for name in odd)
    assert SyntheticConfig(Relation.LOCAL).name == "synthetic-local-1200-seed-0"
