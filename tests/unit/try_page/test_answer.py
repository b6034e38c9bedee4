"""What runs and exported folders answer to one post, with both halves and with either alone."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysed_runs import copied

from mvsa_pipe.analysis.attended_post import attended_post
from mvsa_pipe.analysis.contest import contest_of_runs
from mvsa_pipe.analysis.options import RescoringOptions
from mvsa_pipe.analysis.rescoring import rescored_entries
from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.export.options import ExportOptions
from mvsa_pipe.export.write import export_run
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.predict import predict_one
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.try_page.answer import answer, answers
from mvsa_pipe.try_page.examples import examples
from mvsa_pipe.try_page.models import AbsentAs, open_models
from mvsa_pipe.try_page.options import TryOptions

OPTIONS = TryOptions(device="cpu")
BOTH, TEXT, IMAGE = "text and picture", "text alone", "picture alone"
# Features of a post alone round as those of a batch do, to half precision.
ROUNDING = 5e-3


@pytest.fixture(scope="module")
def made(pipeline, tmp_path_factory):
    return copied(pipeline, tmp_path_factory.mktemp("try"))


@pytest.fixture(scope="module")
def run(made):
    return made("cmac", options={"width": 16}, epochs=6)


@pytest.fixture(scope="module")
def trained(made):
    """A run that was trained to do without either half."""
    training = TrainingOptions(epochs=2, device="cpu", modality_dropout=0.5)
    experiment = made.experiment("native-cat")
    result = run_head(experiment, "native-cat", {}, training)
    return open_run(save_run(experiment, result, training, made.root / "runs").path)


def post(run, number=0):
    """Id, text and picture of a test post, and the path of the picture."""
    post_id = [member.post_id for member in run.members() if member.split == "test"][number]
    folder = Path(run.config["data"]["path"]) / "data"
    path = folder / f"{post_id}.jpg"
    return post_id, (folder / f"{post_id}.txt").read_text().strip(), path.read_bytes(), path


def opened(*paths, options=OPTIONS):
    return open_models(paths, options, NO_PROGRESS)


def shares(found):
    return {reading.given: reading.probabilities for reading in found.readings}


def test_both_halves_are_answered_as_predict_does(run):
    (model,) = opened(run.path)
    _, text, picture, path = post(run)
    found = answer(model, text, picture)
    (wanted,) = predict_one(
        run, text, path, InferenceOptions(device="cpu"), NO_PROGRESS
    ).predictions
    assert found.classes == tuple(run.config["data"]["classes"])
    assert [reading.given for reading in found.readings] == [BOTH, TEXT, IMAGE]
    assert shares(found)[BOTH] == pytest.approx(wanted.probabilities, abs=1e-6)


def test_a_half_left_out_is_the_mean_that_analyses_use(run):
    (model,) = opened(run.path)
    assert model.absent_as is AbsentAs.MEAN
    contest = contest_of_runs([run], at_least=1)
    (entry,) = rescored_entries(contest, RescoringOptions(device="cpu"), NO_PROGRESS)
    for number in (0, 3):
        post_id, text, picture, _ = post(run, number)
        place = contest.folds[0].ids.index(post_id)
        found = shares(answer(model, text, picture))
        for given, left_out in ((TEXT, Modality.IMAGE), (IMAGE, Modality.TEXT)):
            wanted = entry.runs[0].without(left_out).probabilities[place]
            assert found[given] == pytest.approx(wanted, abs=ROUNDING)


def test_a_half_left_out_does_not_matter(run):
    (model,) = opened(run.path)
    (_, text, picture, _), (_, other_text, other_picture, _) = post(run), post(run, 1)
    found = shares(answer(model, text, picture))
    other = shares(answer(model, text, other_picture))
    assert found[TEXT] == other[TEXT]
    assert found[IMAGE] != other[IMAGE]
    assert found[IMAGE] == shares(answer(model, other_text, picture))[IMAGE]


def test_a_run_trained_for_absence_answers_from_one_half(trained):
    (model,) = opened(trained.path)
    assert model.absent_as is AbsentAs.TRAINED
    _, text, picture, path = post(trained)
    found = shares(answer(model, text, picture))
    for given, one in ((TEXT, (text, None)), (IMAGE, (None, path))):
        options = InferenceOptions(device="cpu")
        (wanted,) = predict_one(trained, *one, options, NO_PROGRESS).predictions
        assert found[given] == pytest.approx(wanted.probabilities, abs=1e-6)
        alone = answer(model, one[0], None if one[1] is None else picture)
        assert shares(alone) == {given.removesuffix(" alone"): found[given]}


def test_other_runs_need_all_that_they_read(run):
    (model,) = opened(run.path)
    with pytest.raises(ConfigError, match=r"reads the text and the picture.*Found text\."):
        answer(model, "so", None)
    with pytest.raises(ConfigError, match="Found neither text nor picture"):
        answer(model, None, None)


def test_a_run_of_one_half_ignores_the_other(made):
    text_run = made("text")
    (model,) = opened(text_run.path)
    _, text, picture, _ = post(text_run)
    found = answer(model, text, picture)
    assert shares(found) == {"text": shares(answer(model, text, None))["text"]}
    assert found.remarks == ("It does not read the picture.",)
    assert not found.attention


def test_a_baseline_of_both_halves(made):
    baseline = made("logistic")
    (model,) = opened(baseline.path)
    _, text, picture, _ = post(baseline)
    found = shares(answer(model, text, picture))
    assert len({*found.values()}) == 3
    assert np.sum([*found.values()], axis=1) == pytest.approx(1, abs=1e-5)


def test_without_caches_zeros_stand_for_a_half(run, tmp_path):
    (model,) = opened(run.path, options=replace(OPTIONS, cache=tmp_path))
    assert model.absent_as is AbsentAs.UNTRAINED
    _, text, picture, _ = post(run)
    found = answer(model, text, picture)
    assert "not trained to read" in found.remarks[0]
    assert "are not cached" in found.remarks[1]
    with_means = shares(answer(opened(run.path)[0], text, picture))
    assert shares(found)[BOTH] == with_means[BOTH]
    assert shares(found)[TEXT] != with_means[TEXT]


def test_an_exported_folder_answers_as_its_run(run, trained, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for each, folder in zip((run, trained), folders, strict=True):
        export_run(each, ExportOptions(output=folder, onnx=False), NO_PROGRESS)
    plain, one_half = opened(*folders)
    assert [plain.name, one_half.name] == ["one", "two"]
    _, text, picture, _ = post(run)
    own, other = (answer(model, text, picture) for model in opened(run.path, trained.path))
    assert shares(answer(plain, text, picture))[BOTH] == pytest.approx(shares(own)[BOTH], abs=1e-6)
    assert "exported folder has no training posts" in answer(plain, text, picture).remarks[1]
    for given, found in shares(answer(one_half, text, picture)).items():
        assert found == pytest.approx(shares(other)[given], abs=1e-6)


def test_attention_is_that_of_the_analysis(run):
    (model,) = opened(run.path)
    post_id, text, picture, _ = post(run)
    found = answer(model, text, picture)
    contest = contest_of_runs([run], at_least=1)
    (entry,) = rescored_entries(contest, RescoringOptions(device="cpu"), NO_PROGRESS)
    wanted = attended_post([("cmac", entry.runs[0])], post_id).plots
    assert [plot.title for plot in found.attention] == ["text → picture", "picture → text"]
    for own, other in zip(found.attention, wanted, strict=True):
        assert [word for word, _ in own.words] == [word for word, _ in other.words]
        weights = [[weight for _, weight in plot.words] for plot in (own, other)]
        assert weights[0] == pytest.approx(weights[1], abs=ROUNDING)
        assert np.array(own.patches) == pytest.approx(np.array(other.patches), abs=ROUNDING)
    assert re.match(r"data:image/png;base64,\w", found.picture)


def test_runs_side_by_side_share_backbones_and_keep_their_order(run, trained):
    models = opened(trained.path, run.path)
    assert len({model.name for model in models}) == 2
    for modality in Modality:
        assert models[0].backbones[modality][0] is models[1].backbones[modality][0]
    found = answers(models, "good", None)
    assert not found[0].fault
    assert "picture" in found[1].fault
    again = [model.name for model in opened(run.path, run.path)]
    assert len({*again}) == 2


def test_what_cannot_be_read_is_told(run, tmp_path):
    models = opened(run.path)
    for broken in (b"", b"no picture", post(run)[2][:300]):
        (found,) = answers(models, "good", broken)
        assert "cannot be read" in found.fault
    with pytest.raises(RunError, match="There is no run here"):
        opened(tmp_path)


def test_examples_are_the_same_every_time():
    first, second = examples(), examples()
    assert first == second
    assert len({(one.text, one.picture) for one in first}) == len(first)
