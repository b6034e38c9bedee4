"""Relations between text, picture and label: ceilings by hand and by simulation, and the files."""

import importlib
import sys
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.posts.dataset_path import declared_ceilings
from mvsa_pipe.posts.readers.mvsa import NEUTRAL, SENTIMENTS
from mvsa_pipe.posts.storage.base import FolderStorage
from mvsa_pipe.posts.synthetic.ceilings import expected_ceilings, scored_ceilings
from mvsa_pipe.posts.synthetic.config import Relation, SyntheticConfig
from mvsa_pipe.posts.synthetic.relations import SIDES, draw, kinds, outcomes, unordered
from mvsa_pipe.posts.synthetic.sums import best_sum
from mvsa_pipe.posts.synthetic.write import realised_ceilings, write_synthetic

FIELDS = ("majority", "text", "image", "additive", "pooled", "fused")


def values(relation, strength=1.0, noise=0.0):
    return [vars(expected_ceilings(relation, strength, noise))[name] for name in FIELDS]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_ceilings_are_those_worked_out_by_hand(noise):
    n = noise
    # A neutral cue is most likely neutral itself: what is lost are the polar posts that show it.
    alone, both = 1 - 2 * n / 3, 1 - 2 * n**2 / 3
    assert values(Relation.ALIGNED, noise=n) == pytest.approx(
        [1 / 3, alone, alone, both, both, both]
    )
    # Where both cues are seen (s of the posts) a product decides, of which a sum wins three cells
    # of four; all else is a coin.
    s = (1 - n) ** 2
    product_known = s + (1 - s) / 2
    of_a_sum = 0.75 * s + (1 - s) / 2
    assert values(Relation.OPPOSED, noise=n) == pytest.approx(
        [0.5, 0.5, 0.5, of_a_sum, product_known, product_known]
    )
    assert values(Relation.LOCAL, noise=n) == pytest.approx([0.5] * 5 + [product_known])


@pytest.mark.parametrize("relation", Relation)
def test_strength_mixes_with_a_guess(relation):
    """Of the posts that do not follow the relation, the guess is right by chance."""
    full, none = values(relation)[-1], values(relation, strength=0.0)
    chance = sum(
        p * q
        for (one, p), (other, q) in product(kinds(relation).items(), repeat=2)
        if one.label == other.label
    )
    assert full == pytest.approx(1)
    assert none == pytest.approx([none[0]] * len(FIELDS))
    assert values(relation, strength=0.9)[-1] == pytest.approx(0.9 + 0.1 * chance)


@pytest.mark.parametrize("relation", Relation)
def test_ceilings_against_a_large_simulation_of_the_bayes_rule(relation):
    """The best guess for each view, counted on one half of the posts and scored on the other."""
    n, strength, noise = 100_000, 0.9, 0.2
    drawn = [c for _, c in draw(relation, strength, noise, 2 * n, np.random.default_rng(0))]
    views = {
        "majority": lambda _: "",
        "text": lambda cues: cues.text,
        "image": lambda cues: cues.image,
        "pooled": lambda cues: (unordered(cues.text), unordered(cues.image)),
        "fused": lambda cues: (cues.text, cues.image),
    }
    expected = expected_ceilings(relation, strength, noise)
    for name, view in views.items():
        counted = defaultdict(Counter)
        for cues in drawn[:n]:
            counted[view(cues)][cues.label] += 1
        rule = {seen: labels.most_common(1)[0][0] for seen, labels in counted.items()}
        right = sum(rule[view(cues)] == cues.label for cues in drawn[n:])
        # a standard error of 0.0016
        assert right / n == pytest.approx(vars(expected)[name], abs=0.008)
    realised = scored_ceilings(drawn, relation, strength, noise)
    for name in FIELDS:
        assert vars(realised)[name] == pytest.approx(vars(expected)[name], abs=0.006)


def test_no_sum_of_random_logits_beats_the_best_one():
    generator = np.random.default_rng(0)
    table = generator.dirichlet(np.ones(27)).reshape(3, 3, 3)
    classes = ("a", "b", "c")
    joint = {
        (f"t{t}", f"i{i}"): dict(zip(classes, table[t, i], strict=True))
        for t, i in product(range(3), repeat=2)
    }
    best = sum(joint[pair][guess] for pair, guess in best_sum(joint, classes).items())
    logits = generator.normal(size=(20_000, 3, 1, 3)) + generator.normal(size=(20_000, 1, 3, 3))
    guesses = logits.argmax(axis=3)
    found = np.take_along_axis(table[None], guesses[..., None], axis=3).sum(axis=(1, 2, 3))
    assert found.max() <= best + 1e-9
    assert found.max() > best - 0.02
    assert best < table.max(axis=2).sum()


@pytest.fixture
def least_loss_sum(monkeypatch):
    """Of the benchmark that says why sums do not learn opposed posts."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    yield importlib.import_module("relations").least_loss_sum
    for name in ("relations", "record"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_the_sum_of_least_loss_where_it_is_known(least_loss_sum, noise):
    """Given the label, aligned cues are independent: naive Bayes, a sum, is their posterior.

    In opposed and local posts every cue is as likely with either label, so that the least loss is
    that of equal logits: a coin, although a better sum of opposed cues exists.
    """
    assert least_loss_sum(Relation.ALIGNED, 1.0, noise) == pytest.approx(1 - 2 * noise**2 / 3)
    for strength in (1.0, 0.8):
        for relation in (Relation.OPPOSED, Relation.LOCAL):
            assert least_loss_sum(relation, strength, noise) == pytest.approx(0.5)
        assert values(Relation.OPPOSED, strength, noise)[FIELDS.index("additive")] > 0.55


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_the_sum_of_least_loss_by_minimising_the_loss_itself(least_loss_sum, noise):
    joint = np.zeros((3, 3, 3))  # of text, picture and label
    places = {name: place for place, name in enumerate(SENTIMENTS)}
    for cues, share in outcomes(Relation.ADDITIVE, 0.9, noise):
        joint[places[cues.text], places[cues.image], places[cues.label]] += share

    def logits(weights):
        of_text, of_image = weights.reshape(2, 3, 3)
        return of_text[:, None] + of_image[None]

    found = minimize(lambda w: -(joint * log_softmax(logits(w), axis=2)).sum(), np.zeros(18))
    likely = softmax(logits(found.x), axis=2)
    best = likely >= likely.max(axis=2, keepdims=True) - 1e-3
    accuracy = (joint * best / best.sum(axis=2, keepdims=True)).sum()
    assert least_loss_sum(Relation.ADDITIVE, 0.9, noise) == pytest.approx(accuracy)
    assert accuracy <= values(Relation.ADDITIVE, 0.9, noise)[FIELDS.index("additive")] + 1e-9


@pytest.mark.parametrize("relation", Relation)
def test_kinds_and_outcomes_are_distributions(relation):
    assert sum(kinds(relation).values()) == pytest.approx(1)
    for strength, noise in product((1.0, 0.7), (0.0, 0.3)):
        assert sum(p for _, p in outcomes(relation, strength, noise)) == pytest.approx(1)


def test_in_local_posts_no_bag_tells_the_label():
    bags = defaultdict(Counter)
    for kind, probability in kinds(Relation.LOCAL).items():
        bags[kind.label][kind.text, unordered(kind.image)] += probability
    assert bags["negative"] == pytest.approx(bags["positive"])
    assert len(bags["negative"]) == len(SIDES)


@pytest.fixture(scope="module", params=[each for each in Relation if each != Relation.ADDITIVE])
def written(request, tmp_path_factory):
    config = SyntheticConfig(request.param, posts=60, noise=0.2, image_px=32)
    return config, write_synthetic(tmp_path_factory.mktemp("related") / "posts", config)


def test_what_is_written_reads_as_a_table(written):
    config, truth = written
    posts = read_posts(truth.folder)
    assert posts.name == truth.name == config.name
    assert len(posts) == 60
    of_post = {post.id: post for post in posts.posts}
    generator = np.random.default_rng(config.seed)
    drawn = draw(config.relation, config.strength, config.noise, config.posts, generator)
    for number, (kind, cues) in enumerate(drawn, start=1):
        post = of_post[str(number)]
        assert post.label == kind.label
        assert post.annotations == (() if kind.pair is None else (kind.pair,))
        words = set(post.text.split())
        assert words & set(SIDES) == ({cues.text} if cues.text in SIDES else set())
    assert truth.realised == realised_ceilings(truth.folder, of_post)
    assert truth.expected == expected_ceilings(config.relation, config.strength, config.noise)


def test_a_side_shows_its_sentiment(tmp_path):
    config = SyntheticConfig(Relation.LOCAL, posts=40, noise=0.2, image_px=64)
    folder = write_synthetic(tmp_path / "posts", config).folder
    generator = np.random.default_rng(config.seed)
    drawn = draw(config.relation, config.strength, config.noise, config.posts, generator)
    seen = Counter()
    for number, (_, cues) in enumerate(drawn, start=1):
        with Image.open(folder / "data" / f"{number}.jpg") as image:
            pixels = np.asarray(image).astype(float).mean(axis=2)
        if cues.image == NEUTRAL:
            continue
        sides = [pixels[:, :32], pixels[:, 32:]]
        for side, sentiment in zip(sides, cues.image.split(","), strict=True):
            assert (side.mean() > 115) == (sentiment == "positive")
            seen[sentiment] += 1
    assert seen["positive"] == seen["negative"] > 20


def test_the_same_seed_writes_the_same_posts(written, tmp_path):
    config, truth = written
    again = write_synthetic(tmp_path / "again", config)
    files = sorted(p.relative_to(truth.folder) for p in truth.folder.rglob("*") if p.is_file())
    assert len(files) == 2 * 60 + 3
    for name in files:
        assert (truth.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_the_marker_declares_the_ceilings(written, tmp_path):
    _, truth = written
    assert declared_ceilings(FolderStorage(truth.folder)) == pytest.approx(vars(truth.expected))
    named = read_posts(truth.folder / "posts.csv", ReadOptions(read_image=False))
    assert declared_ceilings(named.storage) == pytest.approx(vars(truth.expected))
    (tmp_path / "posts.csv").write_text("id,text,image,label\n")
    assert declared_ceilings(FolderStorage(tmp_path)) == {}
    marker = tmp_path / "mvsa.json"
    marker.write_text('{"name": "mine"}')
    assert declared_ceilings(FolderStorage(tmp_path)) == {}
    faults = ('{"text": 1.5}', '{"text": "x"}', "[1]", "?")
    for bad in (f'{{"ceilings": {fault}}}' for fault in faults):
        marker.write_text(bad)
        with pytest.raises(DataError, match="ceilings in this marker file"):
            declared_ceilings(FolderStorage(tmp_path))


def test_a_table_may_hold_the_labels_of_text_and_picture(tmp_path):
    rows = ["id,text,image,label,text_label,image_label", "1,a,,positive,positive,neutral"]
    (tmp_path / "posts.csv").write_text("\n".join([*rows, "2,b,,negative,negative,", ""]))
    one, two = read_posts(tmp_path, ReadOptions(read_image=False)).posts
    assert one.annotations == (("positive", "neutral"),)
    assert two.annotations == ()
