"""What every baseline must satisfy, as far as it can be said of all of them."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from baselines_contract import BASELINES, fits
from skops import io as skops

from mvsa_pipe.baselines.saving import TRUSTED
from mvsa_pipe.errors import RunError
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.check_batches import SIZES, make_labels, random_batch

POSTS = 24
TEXTS = [f"a text of {word} words" for word in ("few", "many", "no") * (POSTS // 3)]
CPU = torch.device("cpu")

each_baseline = pytest.mark.parametrize("name", BASELINES)


def fitted(name, texts=None, seed=0, labels=None):
    """The baseline at its first strength, which has the fewest trees."""
    batch = random_batch(posts=POSTS, seed=1)
    labels = make_labels(POSTS) if labels is None else labels
    return next(fits(name, batch, labels, SIZES, seed, texts))


def select(batch: FeatureBatch, index) -> FeatureBatch:
    return FeatureBatch(
        text_pooled=batch.text_pooled[index], image_pooled=batch.image_pooled[index]
    )


def config_of(baseline, **changed):
    config = {
        "head": next(name for name in BASELINES if HEADS.load(name) is type(baseline)),
        "head_options": asdict(baseline.options),
        "sizes": asdict(baseline.sizes),
        "training": {"seed": 0},
    }
    return config | changed


def reload(baseline, data=None, **changed):
    data = baseline.dump() if data is None else data
    return type(baseline).load(config_of(baseline, **changed), data, "runs/one/baseline.skops", CPU)


def test_the_table_has_three():
    assert BASELINES == ["logistic", "svm", "boosting"]


@each_baseline
@pytest.mark.parametrize("axes", [(1, 1, 1, 2), (5, 3, 9, 4)])
def test_probabilities_are_shares_for_any_sizes(name, axes):
    sizes = FeatureSizes(*axes)
    batch = random_batch(sizes, posts=POSTS)
    baseline = next(fits(name, batch, make_labels(POSTS, sizes.classes), sizes))
    found = baseline.predict_proba(batch)
    assert found.shape == (POSTS, sizes.classes)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=1), torch.ones(POSTS))
    assert baseline.predict_proba(select(batch, slice(0, 0))).shape == (0, sizes.classes)


@each_baseline
def test_half_precision_features_are_read_as_the_numbers_that_they_are(name):
    batch = random_batch(posts=POSTS)
    halves = FeatureBatch(
        text_pooled=batch.text_pooled.half(), image_pooled=batch.image_pooled.half()
    )
    singles = FeatureBatch(
        text_pooled=halves.text_pooled.float(), image_pooled=halves.image_pooled.float()
    )
    baseline = fitted(name)
    assert torch.equal(baseline.predict_proba(halves), baseline.predict_proba(singles))


@each_baseline
def test_a_post_does_not_depend_on_its_companions(name):
    baseline, batch = fitted(name), random_batch(posts=6)
    together = baseline.predict_proba(batch)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(baseline.predict_proba(select(batch, order)), together[order])
    alone = [baseline.predict_proba(select(batch, slice(i, i + 1))) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), together)


@each_baseline
def test_overfits_sixteen_posts(name):
    """A solver may know that its fit is too close to be sure of: its predictions are right."""
    batch, labels = random_batch(posts=16), make_labels(16)
    *_, baseline = fits(name, batch, labels)
    assert torch.equal(baseline.predict_proba(batch).argmax(dim=1), labels)


@each_baseline
def test_reads_only_what_it_needs(name):
    baseline, batch = fitted(name), random_batch()
    assert baseline.needs == {Field.TEXT_POOLED, Field.IMAGE_POOLED}
    pooled = select(batch, slice(None))
    assert torch.equal(baseline.predict_proba(pooled), baseline.predict_proba(batch))
    for field in baseline.needs:
        with pytest.raises(ValueError, match=field.value):
            baseline.predict_proba(replace(batch, **{field.value: None}))


@each_baseline
def test_it_says_whether_the_seed_matters(name):
    one, again, other = (fitted(name, seed=s).predict_proba(random_batch()) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) is not HEADS.load(name).seeded


@each_baseline
def test_global_generators_are_left_alone(name):
    before, theirs = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fitted(name)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == theirs).all()  # noqa: NPY002


@each_baseline
@pytest.mark.parametrize("texts", [None, TEXTS], ids=["vectors", "terms"])
@pytest.mark.parametrize("absent", [None, 1])
def test_what_is_saved_answers_alike(name, texts, absent):
    labels = make_labels(POSTS)
    if absent is not None:
        labels = torch.where(labels == absent, 2, labels)
    baseline = fitted(name, texts, labels=labels)
    batch = random_batch(posts=POSTS, seed=2)
    found = reload(baseline).predict_proba(batch, texts)
    assert torch.equal(found, baseline.predict_proba(batch, texts))


@each_baseline
def test_averages_are_saved_whole(name):
    members = [fitted(name, seed=seed) for seed in (0, 1, 2)]
    both, batch = members[0].average(members), random_batch()
    mean = torch.stack([member.predict_proba(batch) for member in members]).mean(dim=0)
    torch.testing.assert_close(both.predict_proba(batch), mean)
    again = reload(both, seeds=[0, 1, 2])
    assert torch.equal(again.predict_proba(batch), both.predict_proba(batch))
    with pytest.raises(RunError, match="no list of 1 pipelines"):
        reload(both)


class Foreign:
    """A type of nobody's that a file may name."""


@each_baseline
def test_a_file_with_a_foreign_type_is_refused(name):
    baseline = fitted(name)
    baseline.pipelines[0].note_ = Foreign()
    with pytest.raises(RunError, match=r"types that mvsa-pipe does not load.*Foreign.*mvsa fit"):
        reload(baseline)


@each_baseline
@pytest.mark.parametrize("texts", [None, TEXTS], ids=["vectors", "terms"])
def test_nothing_is_trusted_that_is_not_named(name, texts):
    data = fitted(name, texts).dump()
    assert set(skops.get_untrusted_types(data=data)) <= set(TRUSTED)


@each_baseline
def test_damaged_bytes_are_one_paragraph(name):
    """Whatever byte was changed, the answers are those that were saved, or there is none."""
    baseline, batch = fitted(name), random_batch()
    data, draws = baseline.dump(), np.random.default_rng(0)
    for cut in (b"", data[:-30], data[: len(data) // 2], b"\0" * 99):
        with pytest.raises(RunError, match="damaged"):
            reload(baseline, cut)
    for place in draws.integers(len(data), size=30):
        changed = bytearray(data)
        changed[place] ^= 1 << int(draws.integers(8))
        try:
            found = reload(baseline, bytes(changed)).predict_proba(batch)
        except RunError:
            continue
        assert found.isfinite().all()


@each_baseline
def test_a_file_of_other_sizes_is_refused(name):
    baseline = fitted(name)
    for sizes in (replace(SIZES, text_width=3), replace(SIZES, classes=2)):
        with pytest.raises(RunError, match="does not fit the baseline"):
            reload(baseline, sizes=asdict(sizes))


def test_a_file_of_another_baseline_is_refused():
    data = fitted("logistic").dump()
    for name in ("svm", "boosting"):
        with pytest.raises(RunError, match="does not fit the baseline"):
            reload(fitted(name), data)


def test_trees_that_lead_nowhere_are_refused():
    baseline = fitted("boosting")
    tree = baseline.pipelines[0][-1].estimators_[0, 0].tree_
    for name, value in (("left_child", 10_000), ("feature", 77), ("left_child", 0)):
        state = tree.__getstate__()
        held = state["nodes"].copy()
        state["nodes"][name][0] = value
        tree.__setstate__(state)
        with pytest.raises(RunError, match="branches lead nowhere"):
            reload(baseline)
        tree.__setstate__(state | {"nodes": held})
    reload(baseline)


@each_baseline
def test_terms_beyond_the_vocabulary_are_refused(name):
    baseline = fitted(name, TEXTS)
    terms = baseline.pipelines[0]["inputs"].named_transformers_["terms"]["tfidf"]
    held = dict(terms.vocabulary_)
    terms.vocabulary_ = held | {"text": 10_000}
    with pytest.raises(RunError, match="vocabulary that does not fit"):
        reload(baseline)
    terms.vocabulary_ = held
    terms.set_params(lowercase=False)
    with pytest.raises(RunError, match="other terms"):
        reload(baseline)


def test_support_vectors_of_terms_that_there_are_not_are_refused():
    baseline = fitted("svm", TEXTS)
    baseline.pipelines[0][-1].term_columns_[0] = 10_000
    with pytest.raises(RunError, match="does not fit the baseline"):
        reload(baseline)


@each_baseline
def test_docstring_names_source_and_differences(name):
    kind = HEADS.load(name)
    assert "Source:" in kind.__doc__
    assert "Differs from source:" in kind.__doc__
