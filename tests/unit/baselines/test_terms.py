"""tf-idf terms beside pooled vectors: learned from training texts alone, kept with the baseline."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from baselines_support import build, fit, joined, shares
from scipy import sparse
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from mvsa_pipe.baselines.terms import make_terms
from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.training.options import TrainingOptions

WORDS = ("awful", "plain", "lovely")
EACH = pytest.mark.parametrize("name", ["logistic", "svm", "boosting"])
TRAINING = TrainingOptions(device="cpu")


def make_posts(
    posts: int = 90, seed: int = 0
) -> tuple[FeatureBatch, torch.Tensor, tuple[str, ...]]:
    """Vectors that say nothing, and texts that name the class among other words."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(posts) % 3
    others = torch.randint(20, (posts, 5), generator=draws).tolist()
    texts = tuple(
        f"{' '.join(f'word{n}' for n in row)} {WORDS[label]}, word0"
        for row, label in zip(others, labels.tolist(), strict=True)
    )
    vectors = torch.randn(posts, 11, generator=draws)
    return FeatureBatch(text_pooled=vectors[:, :7], image_pooled=vectors[:, 7:]), labels, texts


def fitted_to(name, batch, labels, texts, **options):
    baseline = build(name, 3, **({"terms": 500} | options))
    return fit(baseline, batch, labels, baseline.strengths[-1], texts=texts)


def their_rows(texts, baseline) -> np.ndarray:
    model = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, max_features=500
    )
    factor = terms_of(baseline).named_steps["scale"].factor_
    return model.fit_transform(texts).toarray() * np.float32(factor)


def terms_of(baseline):
    return baseline.pipelines[0]["inputs"].named_transformers_["terms"]


def names_of(baseline) -> list[str]:
    return terms_of(baseline).named_steps["tfidf"].get_feature_names_out().tolist()


def test_vectors_are_those_of_sklearn_and_vary_as_much_as_asked():
    _, _, texts = make_posts()
    terms = make_terms(40, variance=7.0)
    rows = terms.fit_transform(texts).toarray()
    theirs = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, max_features=40
    ).fit(texts)
    found = terms.named_steps["tfidf"].get_feature_names_out()
    assert found.tolist() == theirs.get_feature_names_out().tolist()
    assert rows.var(axis=0).sum() == pytest.approx(7.0, rel=1e-4)
    _, _, others = make_posts(seed=1)
    factor = np.float32(terms.named_steps["scale"].factor_)
    for each in (texts, others):
        expected = theirs.transform(each).toarray() * factor
        assert np.array_equal(terms.transform(each).toarray(), expected)


def test_words_that_were_not_learned_count_for_nothing():
    _, _, texts = make_posts()
    terms = make_terms(500, variance=7.0).fit(texts)
    found = terms.transform(("unheard of", "", *texts[2:])).toarray()
    assert not found[:2].any()
    assert np.array_equal(found[2:], terms.transform(texts).toarray()[2:])


def test_texts_that_are_all_the_same_do_no_harm():
    rows = make_terms(5, variance=7.0).fit_transform(("one text",) * 90)
    assert np.isfinite(rows.toarray()).all()


@EACH
def test_a_baseline_reads_words_that_its_vectors_do_not_tell(name):
    batch, labels, texts = make_posts()
    others, _, other_texts = make_posts(seed=1)
    found = shares(fitted_to(name, batch, labels, texts), others, other_texts)
    assert (found.argmax(axis=1) == labels.numpy()).mean() > 0.9
    blind = shares(fitted_to(name, batch, labels, None, terms=0), others)
    assert (blind.argmax(axis=1) == labels.numpy()).mean() < 0.6


def test_logistic_is_that_of_sklearn_over_both():
    batch, labels, texts = make_posts()
    fitted = fitted_to("logistic", batch, labels, texts)
    x = joined(batch)
    x = np.hstack([(x - x.mean(0)) / x.std(0), their_rows(texts, fitted)])
    theirs = LogisticRegression(C=fitted.strengths[-1], max_iter=5000).fit(x, labels.numpy())
    np.testing.assert_allclose(shares(fitted, batch, texts), theirs.predict_proba(x), atol=2e-4)


def test_svm_is_that_of_sklearn_over_both():
    batch, labels, texts = make_posts()
    labels = labels % 2
    fitted = fitted_to("svm", batch, labels, texts)
    x = joined(batch)
    x = np.hstack([(x - x.mean(0)) / x.std(0), their_rows(texts, fitted)])
    theirs = SVC(C=fitted.strengths[-1], gamma=0.3 / 22).fit(x, labels.numpy())
    margins, logits = theirs.decision_function(x), np.log(shares(fitted, batch, texts))
    apart = logits[:, 1] - logits[:, 0]
    factor = (apart * margins).sum() / (margins * margins).sum()
    np.testing.assert_allclose(apart, factor * margins, atol=1e-2 * factor)


def test_boosting_is_that_of_sklearn_over_both():
    batch, labels, texts = make_posts()
    fitted = fitted_to("boosting", batch, labels, texts)
    x = joined(batch)
    # of questions that are equally good, dense and sparse trees ask different ones
    x = sparse.csr_matrix(np.hstack([x - x.mean(0), their_rows(texts, fitted)]))
    theirs = GradientBoostingClassifier(
        n_estimators=80,
        learning_rate=0.2,
        subsample=0.5,
        max_features="sqrt",
        random_state=fitted.pipelines[0][-1].random_state,
    ).fit(x, labels.numpy())
    np.testing.assert_allclose(shares(fitted, batch, texts), theirs.predict_proba(x), atol=1e-5)


@EACH
def test_a_post_does_not_depend_on_its_companions(name):
    batch, labels, texts = make_posts()
    fitted = fitted_to(name, batch, labels, texts)
    together = shares(fitted, batch, texts)
    for n in (0, 41):
        alone = FeatureBatch(
            text_pooled=batch.text_pooled[n : n + 1], image_pooled=batch.image_pooled[n : n + 1]
        )
        found = shares(fitted, alone, texts[n : n + 1])
        np.testing.assert_allclose(found[0], together[n], rtol=1e-5, atol=1e-5)


@EACH
def test_an_absent_class_keeps_its_place(name):
    batch, labels, texts = make_posts()
    fitted = fitted_to(name, batch, torch.where(labels == 1, 2, labels), texts)
    assert (shares(fitted, batch, texts)[:, 1] < 1e-6).all()


@EACH
def test_only_a_baseline_with_terms_reads_texts(name):
    assert not build(name, 3).reads_texts
    assert build(name, 3, terms=9).reads_texts
    batch, labels, _ = make_posts()
    with pytest.raises(ValueError, match="needs texts"):
        fitted_to(name, batch, labels, None)


@EACH
def test_texts_without_words_are_refused(name):
    batch, labels, _ = make_posts()
    with pytest.raises(DataError, match="tf-idf terms need words"):
        fitted_to(name, batch, labels, ("!", "a ?", "") * 30)
    with pytest.raises(ConfigError, match="'terms'"):
        build(name, 3, terms=-1)


@pytest.mark.usefixtures("workplace")
@EACH
def test_nothing_is_learned_from_texts_that_are_not_trained_on(name):
    """Other texts of validation and test posts leave what every strength learns as it was."""
    experiment = prepare(DataChoice(), CacheChoice(), needs_of([name]))
    training_data, trained = experiment.training_data, set(experiment.indices["train"].tolist())
    texts = tuple(
        text if place in trained else f"leak{place} leak leak"
        for place, text in enumerate(training_data.texts)
    )
    leaky = replace(experiment, training_data=replace(training_data, texts=texts))
    options = {"terms": 5000}
    one, other = (run_head(made, name, options, TRAINING).fitted for made in (experiment, leaky))
    assert [e["strength"] for e in one.history] == [e["strength"] for e in other.history]
    assert names_of(one.head) == names_of(other.head)
    assert not any("leak" in name for name in names_of(other.head))


@pytest.mark.usefixtures("workplace")
def test_every_split_has_a_vocabulary_of_its_own():
    first = prepare(DataChoice(), CacheChoice(), needs_of(["logistic"]))
    known = []
    for experiment in (first, first.split_as(first.data.split, 5)):
        result = run_head(experiment, "logistic", {"terms": 5000}, TRAINING)
        texts = [experiment.training_data.texts[n] for n in experiment.indices["train"].tolist()]
        own = TfidfVectorizer(ngram_range=(1, 2), max_features=5000).fit(texts)
        known.append(names_of(result.fitted.head))
        assert known[-1] == own.get_feature_names_out().tolist()
    assert known[0] != known[1]
