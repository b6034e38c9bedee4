"""Posts of one half: answered by runs that were trained for it, refused by all others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.analysis.missing import missing
from mvsa_pipe.analysis.options import MissingOptions
from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.export import load_exported
from mvsa_pipe.export.options import ExportOptions
from mvsa_pipe.export.write import export_run
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice, InferenceOptions
from mvsa_pipe.runs.predict import PredictResult, predict, predict_one
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

OPTIONS = InferenceOptions(device="cpu")
NONE = NoProgress()


def trained(rate: float, head: str = "native-cat") -> Run:
    training = TrainingOptions(epochs=3, device="cpu", modality_dropout=rate)
    experiment = prepare(DataChoice(), CacheChoice(), needs_of([head]))
    result = run_head(experiment, head, {}, training)
    return open_run(save_run(experiment, result, training, Path("runs")).path)


@pytest.fixture
def posts(workplace: Path) -> PostSet:
    """Posts of which one has no text, one no picture, one neither."""
    whole = read_posts(workplace / "data")
    first, second, third, fourth, *_ = whole.posts
    some = (
        first,
        replace(second, text=None),
        replace(third, image=None),
        replace(fourth, text=None, image=None),
    )
    return replace(whole, posts=some)


def shares(result: PredictResult) -> dict[str, list[float]]:
    return {row.post_id: list(row.probabilities) for row in result.predictions}


@pytest.mark.parametrize("head", ["native-cat", "cmac"])
def test_a_run_with_dropout_answers_from_what_a_post_has(posts: PostSet, head: str) -> None:
    run = trained(0.5, head)
    assert run.config["training"]["modality_dropout"] == 0.5
    found = predict(run, posts, OPTIONS, NONE)
    ids = [post.id for post in posts.posts]
    assert [row.post_id for row in found.predictions] == ids[:3]
    assert found.alone == {ids[1]: Modality.IMAGE, ids[2]: Modality.TEXT}
    assert found.as_record()["alone"] == {ids[1]: "image", ids[2]: "text"}
    assert found.remarks()[0] == f"predicted from the text alone: {ids[2]}"
    assert list(found.faults) == [ids[3]]
    # cached features and features in memory give the same answers
    renamed = replace(posts, name="elsewhere")
    for post_id, own in shares(predict(run, renamed, OPTIONS, NONE)).items():
        assert own == pytest.approx(shares(found)[post_id], abs=2e-3)


def test_other_runs_refuse_as_before(posts: PostSet) -> None:
    run = trained(0.0)
    assert "modality_dropout" not in run.config["training"]
    found = predict(run, posts, OPTIONS, NONE)
    ids = [post.id for post in posts.posts]
    assert list(shares(found)) == ids[:1]
    assert set(found.faults) == set(ids[1:])
    assert not found.alone
    with pytest.raises(ConfigError, match="reads the image of a post, and none was given"):
        predict_one(run, "a text", None, OPTIONS, NONE)


def test_a_baseline_ignores_dropout(posts: PostSet) -> None:
    found = predict(trained(0.5, "logistic"), posts, OPTIONS, NONE)
    assert len(found.predictions) == 1
    assert len(found.faults) == 3


def test_an_exported_model_answers_as_its_run(posts: PostSet, tmp_path: Path) -> None:
    run, folder = trained(0.5), tmp_path / "exported"
    export_run(run, ExportOptions(output=folder, onnx=False), NONE)
    model = load_exported(folder, device="cpu")
    some = posts.posts[:3]
    texts = [post.text for post in some]
    pictures = [None if p.image is None else posts.storage.read(p.image) for p in some]
    with pytest.warns(UserWarning, match="from the (text|image) alone: 1 posts"):
        found = model.predict_proba(texts, pictures)
    expected = predict(run, replace(posts, name="elsewhere"), OPTIONS, NONE)
    assert found == pytest.approx(np.array(list(shares(expected).values())), abs=1e-6)
    with pytest.warns(UserWarning, match="from the text alone"):
        alone = model.predict_proba(texts=[texts[2]])
    assert alone[0] == pytest.approx(found[2], abs=1e-6)
    with pytest.raises(ConfigError, match="what its head reads of every post"):
        model.predict_proba(texts=[None], images=[None])


def test_an_exported_model_without_dropout_needs_both(workplace: Path, tmp_path: Path) -> None:
    assert Path.cwd() == workplace
    export_run(trained(0.0), ExportOptions(output=tmp_path / "exported", onnx=False), NONE)
    model = load_exported(tmp_path / "exported", device="cpu")
    with pytest.raises(ConfigError, match="what its head reads of every post"):
        model.predict_proba(texts=["a text"])


@pytest.mark.parametrize("head", ["native-cat", "cmac"])
def test_the_analysis_of_missing_halves_is_what_predict_answers(workplace: Path, head: str) -> None:
    run = trained(0.5, head)
    options = MissingOptions(resamples=100, device="cpu", cache=workplace / "cache")
    found = missing([run], options, NONE)
    whole = read_posts(workplace / "data")
    tested = {row.post_id: row.label for row in run.predictions() if row.split == "test"}
    for half in Modality:
        lacking: dict[str, None] = {half.value: None}
        some = tuple(replace(p, **lacking) for p in whole.posts if p.id in tested)
        answered = predict(run, replace(whole, posts=some), OPTIONS, NONE).predictions
        right = np.mean([row.prediction == tested[row.post_id] for row in answered])
        assert len(answered) == len(tested)
        assert found.values[head][f"{half}-null"] == pytest.approx(right)
    assert found.values[head]["trained_for_absence"]
    assert "answers posts of one half: " + head in " ".join(found.verdict)


def test_runs_of_one_half_have_nothing_to_miss(workplace: Path) -> None:
    options = MissingOptions(resamples=100, device="cpu", cache=workplace / "cache")
    with pytest.raises(RunError, match="neither can be absent") as caught:
        missing([trained(0.0, "text")], options, NONE)
    assert "mvsa fit --head native-cat" in caught.value.paragraph()
