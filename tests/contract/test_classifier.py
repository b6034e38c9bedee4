"""scikit-learn's own checks of estimators, and what they do not look at."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mvsa_pipe as mv
from mvsa_pipe.api.classifier import ArrayError, validation_rows
from mvsa_pipe.errors import ConfigError

# Neural heads norm each modality's vector, and of a vector of one column nothing is left: these
# checks have two columns, of which the text has one and the image the other.
ONE_COLUMN = "needs vectors of more than one column for each modality"
EXPECTED = {"native-cat": {"check_classifiers_train": ONE_COLUMN}}


@parametrize_with_checks(
    [
        mv.FusionClassifier("native-cat", text_features=0.5, epochs=3, learning_rate=5e-3),
        mv.FusionClassifier("logistic", text_features=0.5),
    ],
    expected_failed_checks=lambda estimator: EXPECTED.get(estimator.head, {}),
)
def test_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows():
    return make_classification(
        n_samples=240, n_features=24, n_informative=12, n_classes=3, random_state=0
    )


def quick(head="native-cat", **options):
    given = {"text_features": 10, "epochs": 12, "learning_rate": 5e-3, "random_state": 0}
    return mv.FusionClassifier(head, **(given | options))


@pytest.mark.parametrize("head", ["text", "image", "native-cat", "gated", "low-rank", "boosting"])
def test_heads_learn(rows, head):
    fitted = quick(head).fit(*rows)
    assert fitted.score(*rows) > 0.6
    assert fitted.history_[fitted.best_]["val_f1_macro"] == max(
        entry["val_f1_macro"] for entry in fitted.history_
    )


def test_it_is_at_home_in_pipelines_grids_and_cross_validation(rows):
    features, labels = rows
    assert cross_val_score(quick(), features, labels, cv=3).mean() > 0.45
    pipeline = make_pipeline(StandardScaler(), quick(epochs=4))
    grid = {
        "fusionclassifier__head": ["native-cat", "gated"],
        "fusionclassifier__dropout": [0.1, 0.5],
    }
    found = GridSearchCV(pipeline, grid, cv=2).fit(features, labels)
    assert found.best_params_.keys() == grid.keys()
    assert len(set(found.cv_results_["mean_test_score"])) > 1
    assert found.predict(features).shape == labels.shape


def test_options_of_the_head_are_parameters():
    made = quick(hidden=16)
    assert made.get_params()["hidden"] == 16
    assert clone(made).get_params() == made.get_params()
    assert "hidden=16" in repr(made)
    assert clone(quick()).set_params(hidden=8).hidden == 8
    with pytest.raises(ValueError, match="Invalid parameter"):
        quick().set_params(hiden=8)


def test_a_copy_predicts_the_same(rows):
    fitted = quick().fit(*rows)
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict_proba(rows[0]) == fitted.predict_proba(rows[0])).all()


def test_the_same_seed_gives_the_same_and_another_does_not(rows):
    one, two, other = (quick(random_state=seed).fit(*rows) for seed in (1, 1, 2))
    assert (one.predict_proba(rows[0]) == two.predict_proba(rows[0])).all()
    assert (one.predict_proba(rows[0]) != other.predict_proba(rows[0])).any()


def test_labels_and_columns_may_have_names(rows):
    import pandas as pd

    features = pd.DataFrame(rows[0], columns=[f"f{n}" for n in range(24)])
    labels = np.array(["low", "middle", "high"])[rows[1]]
    fitted = quick().fit(features, labels)
    assert fitted.classes_.tolist() == ["high", "low", "middle"]
    assert fitted.feature_names_in_.tolist() == list(features)
    assert set(fitted.predict(features)) <= {"high", "low", "middle"}


def test_validation_rows_are_a_share_of_each_class():
    labels = np.repeat([0, 1, 2], [50, 20, 1])
    chosen = validation_rows(labels, 0.2, np.random.RandomState(0))
    assert np.bincount(labels[chosen], minlength=3).tolist() == [10, 4, 0]
    assert len(validation_rows(np.array([0, 0, 1]), 0.1, np.random.RandomState(0))) == 1


REFUSED = [
    ({"text_features": None}, "text_features does not divide the columns"),
    ({"text_features": 24}, "of 24 feature"),
    ({"text_features": True}, "text_features"),
    ({"text_features": 1.0}, "text_features"),
    ({"head": "dual-attention"}, "reads token states, which an array of pooled vectors lacks"),
    ({"head": "nope"}, "No head is named 'nope'"),
    ({"validation_fraction": 0}, "above 0 and below 1"),
    ({"epochs": 0}, "--epochs cannot be used"),
    ({"schedule": "linear"}, "cosine, constant"),
    ({"hiden": 3}, "no option 'hiden'"),
]


@pytest.mark.parametrize(("given", "says"), REFUSED)
def test_what_cannot_be_used_is_told_in_one_paragraph(rows, given, says):
    with pytest.raises(ConfigError, match=says) as caught:
        quick(**given).fit(*rows)
    assert "\n" not in str(caught.value)


def test_one_class_and_one_row_a_class_are_refused(rows):
    with pytest.raises(ArrayError, match="two classes"):
        quick().fit(rows[0][:5], [1] * 5)
    with pytest.raises(ArrayError, match="too few rows"):
        quick().fit(rows[0][:3], [0, 1, 2])


def test_loaded_data_gives_the_run_of_fit(pipeline, tmp_path):
    data = mv.load(mv.read_posts(pipeline / "data"), pipeline / "cache")
    run = mv.fit(data, "dual-attention", seed=3, epochs=2, runs=tmp_path)
    fitted = mv.FusionClassifier("dual-attention", random_state=3, epochs=2).fit(data)
    assert fitted.classes_.tolist() == list(data.posts.classes)
    assert fitted.score(data) == pytest.approx(run.scores["test"]["accuracy"])
    shares = [row.probabilities for row in run.predictions() if row.split == "test"]
    assert np.abs(fitted.predict_proba(data) - shares).max() < 1e-6
    with pytest.raises(NotFittedError):
        mv.FusionClassifier("text").predict(data)
