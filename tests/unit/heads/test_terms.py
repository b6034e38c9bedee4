"""tf-idf terms beside pooled vectors: learnt from training texts alone, kept with the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.experiment.options import CacheChoice, DataChoice
from mvsa_pipe.experiment.prepare import needs_of, prepare
from mvsa_pipe.experiment.run import run_head
from mvsa_pipe.features import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.heads.terms import Terms
from mvsa_pipe.training.options import TrainingOptions

WORDS = ("awful", "plain", "lovely")
SIZES = FeatureSizes(4, 3, 1, 3)
SOLVED = pytest.mark.parametrize("name", ["logistic", "svm", "boosting"])
TRAINING = TrainingOptions(device="cpu")


def make_posts(posts: int = 90, seed: int = 0) -> tuple[FeatureBatch, torch.Tensor]:
    """Vectors that say nothing, and texts that name the class among other words."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(posts) % 3
    others = torch.randint(20, (posts, 5), generator=draws).tolist()
    texts = [
        f"{' '.join(f'word{n}' for n in row)} {WORDS[label]}, word0"
        for row, label in zip(others, labels.tolist(), strict=True)
    ]
    vectors = torch.randn(posts, 7, generator=draws)
    pooled = {"text_pooled": vectors[:, :4], "image_pooled": vectors[:, 4:]}
    return FeatureBatch(**pooled, texts=tuple(texts)), labels


def solved(name: str, batch: FeatureBatch, labels: torch.Tensor, **options):
    head = build_head(name, SIZES, 0, {"terms": 500} | options).eval()
    head.solve(batch, labels, head.strengths[-1], None)
    return head


def their_rows(batch: FeatureBatch, head) -> np.ndarray:
    model = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, max_features=500
    )
    return model.fit_transform(batch.texts).toarray() * np.float32(head.terms.scale)


def test_vectors_are_those_of_sklearn_and_vary_as_much_as_asked():
    batch, _ = make_posts()
    terms = Terms(40)
    rows = terms.learn(batch, variance=7.0).toarray()
    theirs = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, max_features=40
    ).fit(batch.texts)
    assert terms.names == theirs.get_feature_names_out().tolist()
    assert rows.var(axis=0).sum() == pytest.approx(7.0, rel=1e-4)
    others, _ = make_posts(seed=1)
    for posts in (batch, others):
        expected = theirs.transform(posts.texts).toarray() * np.float32(terms.scale)
        assert np.array_equal(terms(posts).numpy(), expected)


def test_words_that_were_not_learnt_count_for_nothing():
    batch, _ = make_posts()
    terms = Terms(500)
    terms.learn(batch, variance=7.0)
    strange = replace(batch, texts=("unheard of", "", *batch.texts[2:]))
    assert not terms(strange)[:2].any()
    assert torch.equal(terms(strange)[2:], terms(batch)[2:])


def test_texts_that_are_all_the_same_do_no_harm():
    batch, _ = make_posts()
    rows = Terms(5).learn(replace(batch, texts=("one text",) * 90), variance=7.0)
    assert np.isfinite(rows.toarray()).all()


@SOLVED
@torch.no_grad()
def test_a_head_reads_words_that_its_vectors_do_not_tell(name):
    batch, labels = make_posts()
    others, _ = make_posts(seed=1)
    head = solved(name, batch, labels)
    assert (head(others).argmax(1) == labels).float().mean() > 0.9
    blind = build_head(name, SIZES, 0).eval()
    blind.solve(batch, labels, blind.strengths[-1], None)
    assert (blind(others).argmax(1) == labels).float().mean() < 0.6


@torch.no_grad()
def test_logistic_is_that_of_sklearn_over_both():
    batch, labels = make_posts()
    head = solved("logistic", batch, labels)
    x = torch.cat([batch.text_pooled, batch.image_pooled], 1).double().numpy()
    x = np.hstack([(x - x.mean(0)) / x.std(0), their_rows(batch, head)])
    theirs = LogisticRegression(C=head.strengths[-1], max_iter=5000).fit(x, labels.numpy())
    found = head(batch).softmax(1).numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(x), atol=2e-4)


@torch.no_grad()
def test_svm_is_that_of_sklearn_over_both():
    batch, labels = make_posts()
    labels = labels % 2
    head = solved("svm", batch, labels)
    x = torch.cat([batch.text_pooled, batch.image_pooled], 1).double().numpy()
    x = np.hstack([(x - x.mean(0)) / x.std(0), their_rows(batch, head)])
    theirs = SVC(C=head.strengths[-1], gamma=0.3 / 14).fit(x, labels.numpy())
    margins, logits = theirs.decision_function(x), head(batch).numpy()
    apart = logits[:, 1] - logits[:, 0]
    factor = (apart * margins).sum() / (margins * margins).sum()
    np.testing.assert_allclose(apart, factor * margins, atol=1e-2 * factor)


@torch.no_grad()
def test_boosting_is_that_of_sklearn_over_both():
    batch, labels = make_posts()
    head = solved("boosting", batch, labels)
    x = torch.cat([batch.text_pooled, batch.image_pooled], 1).numpy()
    x = np.hstack([x, their_rows(batch, head)])
    theirs = GradientBoostingClassifier(
        n_estimators=80,
        learning_rate=0.2,
        subsample=0.5,
        max_features="sqrt",
        random_state=int(head.draw),
    ).fit(x, labels.numpy())
    found = head(batch).softmax(1).numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(x), atol=1e-5)


@SOLVED
@torch.no_grad()
def test_what_is_saved_answers_alike(name, tmp_path):
    batch, labels = make_posts()
    head = solved(name, batch, labels)
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    restored = build_head(name, SIZES, 1, {"terms": 500}).eval()
    assert restored(batch).isfinite().all()  # before it knows any term, too
    restored.load_state_dict(load_file(tmp_path / "head.safetensors"))
    others, _ = make_posts(seed=1)
    assert torch.equal(restored(others), head(others))


@SOLVED
@torch.no_grad()
def test_a_post_does_not_depend_on_its_companions(name):
    batch, labels = make_posts()
    head = solved(name, batch, labels)
    together = head(batch)
    for n in (0, 41):
        alone = FeatureBatch(
            text_pooled=batch.text_pooled[n : n + 1],
            image_pooled=batch.image_pooled[n : n + 1],
            texts=(batch.texts[n],),
        )
        torch.testing.assert_close(head(alone)[0], together[n], rtol=1e-5, atol=1e-5)


@SOLVED
def test_an_absent_class_keeps_its_place(name):
    batch, labels = make_posts()
    head = solved(name, batch, torch.where(labels == 1, 2, labels))
    with torch.no_grad():
        assert (head(batch).softmax(1)[:, 1] < 1e-6).all()


@SOLVED
def test_a_head_without_terms_holds_and_reads_none(name):
    head = build_head(name, SIZES, 0)
    assert Field.TEXTS not in head.needs
    assert not any("term" in key for key in head.state_dict())
    assert Field.TEXTS in build_head(name, SIZES, 0, {"terms": 9}).needs
    batch, labels = make_posts()
    with pytest.raises(ValueError, match="needs texts"):
        solved(name, replace(batch, texts=None), labels)


@SOLVED
def test_texts_without_words_are_refused(name):
    batch, labels = make_posts()
    with pytest.raises(DataError, match="tf-idf terms need words"):
        solved(name, replace(batch, texts=("!", "a ?", "") * 30), labels)
    with pytest.raises(ConfigError, match="'terms'"):
        build_head(name, SIZES, 0, {"terms": -1})


def test_a_batch_has_as_many_texts_as_posts():
    batch, _ = make_posts()
    with pytest.raises(ValueError, match="89 in texts"):
        replace(batch, texts=batch.texts[1:])


@pytest.mark.usefixtures("workplace")
@SOLVED
def test_nothing_is_learnt_from_texts_that_are_not_trained_on(name):
    """Other texts of validation and test posts leave every number of the head as it was."""
    experiment = prepare(DataChoice(), CacheChoice(), needs_of([name]))
    features, trained = experiment.material.features, set(experiment.indices["train"].tolist())
    texts = {
        post_id: features.texts[n] if n in trained else f"leak{n} leak leak"
        for n, post_id in enumerate(features.post_ids)
    }
    material = replace(experiment.material, features=features.with_texts(texts))
    leaky = replace(experiment, material=material)
    # every strength is solved on the same words; which of them is kept, validation decides
    heads = [build_head(name, features.sizes, 0, {"terms": 5000}) for _ in (experiment, leaky)]
    for head, made in zip(heads, (experiment, leaky), strict=True):
        train = made.material.features.batch(made.material.train, head.needs)
        head.solve(train, made.material.labels[made.material.train], head.strengths[0], None)
    states = [head.state_dict() for head in heads]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    fitted = run_head(leaky, name, {"terms": 5000}, TRAINING).fitted.head
    assert not any("leak" in term for term in fitted.terms.names)


@pytest.mark.usefixtures("workplace")
def test_every_split_has_a_vocabulary_of_its_own():
    first = prepare(DataChoice(), CacheChoice(), needs_of(["logistic"]))
    known = []
    for experiment in (first, first.split_again(5)):
        result = run_head(experiment, "logistic", {"terms": 5000}, TRAINING)
        texts = experiment.material.features.texts_of(experiment.indices["train"])
        own = TfidfVectorizer(ngram_range=(1, 2), max_features=5000).fit(texts)
        known.append(result.fitted.head.terms.names)
        assert known[-1] == own.get_feature_names_out().tolist()
    assert known[0] != known[1]
