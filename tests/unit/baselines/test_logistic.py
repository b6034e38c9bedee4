"""The logistic baseline against scikit-learn itself."""

import threading
import warnings

import numpy as np
import pytest
import torch
from baselines_support import build, fit, joined, shares
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvsa_pipe.baselines import base
from mvsa_pipe.baselines.saving import load_pipelines
from mvsa_pipe.baselines.selection import LabelledRows, select
from mvsa_pipe.errors import DataError
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.metrics.score_table import Score


def make_posts(posts: int, classes: int, seed: int = 0) -> tuple[FeatureBatch, torch.Tensor]:
    """Features of very different scales that tell something about the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (posts,), generator=generator)
    text = torch.randn(posts, 7, generator=generator) * torch.logspace(-2, 2, 7)
    image = 3.0 + torch.randn(posts, 4, generator=generator)
    text[:, 3] += labels
    image[:, 0] -= (labels == 1).float()
    return FeatureBatch(text_pooled=text, image_pooled=image), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_probabilities_equal_those_of_sklearn(classes: int, strength: float, weighted: bool):
    batch, labels = make_posts(150, classes)
    weights = torch.linspace(0.5, 2.0, classes) if weighted else None
    fitted = fit(build("logistic", classes), batch, labels, strength, weights)
    theirs = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=strength,
            class_weight=None if weights is None else dict(enumerate(weights.tolist())),
            max_iter=1000,
        ),
    )
    theirs.fit(joined(batch), labels.numpy())
    expected = theirs.predict_proba(joined(batch))
    np.testing.assert_allclose(shares(fitted, batch), expected, atol=1e-5)


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_absent_class_gets_no_probability_to_speak_of(absent: int):
    batch, labels = make_posts(120, 3)
    labels += labels >= absent
    fitted = fit(build("logistic", 4), batch, labels, 1.0, torch.ones(4))
    found = shares(fitted, batch)
    assert np.isfinite(np.log(found)).all()
    assert (found[:, absent] < 1e-9).all()
    assert (found.argmax(axis=1) == labels.numpy()).mean() > 0.4


def test_constant_feature_does_no_harm():
    batch, labels = make_posts(60, 3)
    batch.image_pooled[:, 2] = 5.0
    fitted = fit(build("logistic", 3), batch, labels, 1.0)
    weights = fitted.pipelines[0][-1].coef_
    assert np.isfinite(weights).all()
    assert (weights[:, 9] == 0.0).all()


def test_weak_penalty_on_separable_posts_converges_in_silence():
    batch, labels = make_posts(12, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit(build("logistic", 3), batch, labels, 1e4)
    assert (shares(fitted, batch).argmax(axis=1) == labels.numpy()).all()


def test_one_class_alone_is_refused():
    batch, labels = make_posts(10, 3)
    with pytest.raises(DataError, match="Logistic regression needs at least two classes"):
        fit(build("logistic", 3), batch, torch.zeros_like(labels), 1.0)


def test_features_beyond_single_precision_are_refused():
    batch, labels = make_posts(10, 3)
    batch.text_pooled[3, 2] = 1e30
    with pytest.raises(DataError, match="too large for a solver"):
        fit(build("logistic", 3), batch, labels, 1.0)


def test_a_pipeline_is_an_ordinary_one_of_sklearn():
    batch, labels = make_posts(60, 3)
    fitted = fit(build("logistic", 3), batch, labels, 1.0)
    (pipeline,) = fitted.pipelines
    assert type(pipeline[-1]) is LogisticRegression
    found = pipeline.predict(fitted.frame(batch))
    assert (found == shares(fitted, batch).argmax(axis=1)).all()
    assert fitted.parameter_count == 3 * (7 + 4) + 3


def test_every_strength_is_selected_on_inputs_that_are_transformed_once(monkeypatch):
    batch, labels = make_posts(90, 3)
    baseline, transform, asked = build("logistic", 3), StandardScaler.transform, []

    def count(self, x, **given):
        asked.append(len(x))
        return transform(self, x, **given)

    rows = LabelledRows(baseline.frame(batch), labels.numpy())
    held_out = LabelledRows(rows.frame[:40], rows.labels[:40])
    monkeypatch.setattr(StandardScaler, "transform", count)
    found = select(baseline, rows, held_out, None, Score.F1_MACRO, lambda: None, lambda *_: None)
    assert asked.count(40) == 1
    every = baseline.fit(rows.frame, rows.labels)
    for entry, fitted in zip(found.history, every, strict=True):
        own = fitted.predict(held_out.frame)[np.arange(40), held_out.labels]
        assert entry["val_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-12)


def test_a_held_out_post_that_is_not_finite_makes_the_loss_nan_not_an_error():
    batch, labels = make_posts(60, 3)
    baseline = build("logistic", 3)
    rows = LabelledRows(baseline.frame(batch), labels.numpy())
    broken = rows.frame[:20].copy()
    broken.iloc[3, 0] = np.inf
    found = select(
        baseline,
        rows,
        LabelledRows(broken, rows.labels[:20]),
        None,
        Score.F1_MACRO,
        lambda: None,
        lambda *_: None,
    )
    assert all(np.isnan(entry["val_loss"]) for entry in found.history)


def test_a_run_that_recorded_names_of_columns_answers_alike():
    batch, labels = make_posts(60, 3)
    baseline = build("logistic", 3)
    frame = baseline.frame(batch)
    named, plain = (
        next(baseline.fit(columns, labels.numpy(), strengths=(1.0,)))
        for columns in (frame.set_axis(frame.columns.astype(str), axis=1), frame)
    )
    assert hasattr(named.pipelines[0][0], "feature_names_in_")
    saved, shorter = named.dump(), plain.dump()
    assert len(shorter) < len(saved)
    loaded = load_pipelines(build("logistic", 3), 1, saved, "a run")
    np.testing.assert_array_equal(shares(loaded, batch), shares(plain, batch))


def test_strengths_come_in_order_however_long_each_takes(monkeypatch):
    batch, labels = make_posts(60, 3)
    baseline, later = build("logistic", 3), threading.Event()
    plain = baseline.classifier
    monkeypatch.setattr(base, "usable_cores", lambda: 2)

    def first_last(strength):
        if strength == 1.0:
            assert later.wait(60)
        elif strength == 0.01:  # begun by the thread that has ended 0.1
            later.set()
        return plain(strength)

    monkeypatch.setattr(baseline, "classifier", first_last)
    found = baseline.fit(baseline.frame(batch), labels.numpy(), strengths=(1.0, 0.1, 0.01))
    assert [fitted.pipelines[0][-1].C for fitted in found] == [1.0, 0.1, 0.01]


def test_no_strength_is_begun_after_the_user_has_stopped(monkeypatch):
    batch, labels = make_posts(60, 3)
    baseline, begun, stopped = build("logistic", 3), [], threading.Event()
    plain = baseline.classifier
    monkeypatch.setattr(base, "usable_cores", lambda: 1)

    def waiting(strength):
        begun.append(strength)
        if len(begun) > 1:
            assert stopped.wait(60)
        return plain(strength)

    monkeypatch.setattr(baseline, "classifier", waiting)
    fits = baseline.fit(baseline.frame(batch), labels.numpy(), strengths=(0.01,) * 50)
    next(fits)
    fits.close()
    stopped.set()
    for thread in threading.enumerate():
        if thread.name.startswith("strength"):
            thread.join(60)
    assert len(begun) <= 2  # the first, and one that ran when the user stopped
