"""What modalities contribute: exact values where they are known, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analysed_runs import RunMaker
from torch import nn

from mvsa_pipe.analysis.ablation import IMAGE, TEXT, ablated, shapley
from mvsa_pipe.analysis.changed_features import Constant, Inputs
from mvsa_pipe.analysis.contribution import Gain, contribution, signatures
from mvsa_pipe.analysis.options import ContributionOptions, Replacement
from mvsa_pipe.analysis.resampling import Resampler
from mvsa_pipe.analysis.rescoring import RescoredEntry, RescoredRun
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import DataError, RunError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features.batch import FeatureSizes, Field
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.standings import PairTest
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic.write import SyntheticConfig, write_synthetic
from mvsa_pipe.progress import NoProgress

OPTIONS = ContributionOptions(device="cpu", resamples=200)
IDS = tuple(f"post {n}" for n in range(400))
SIZES = FeatureSizes(2, 2, 1, 2)


class Sum(FusionHead):
    """Logits are sums over both modalities; each class is an entry of the vectors."""

    needs = (Field.TEXT_POOLED, Field.IMAGE_POOLED)

    def __init__(self, sizes: FeatureSizes, text: float = 1.0, image: float = 1.0) -> None:
        super().__init__(sizes)
        self.weights = nn.Parameter(torch.tensor([text, image]))

    def forward(self, batch):
        text, image = self.read(batch, Field.TEXT_POOLED), self.read(batch, Field.IMAGE_POOLED)
        return self.weights[0] * text + self.weights[1] * image


def run_of(weights, text, image):
    model = Sum(SIZES, *weights).eval()
    sources = {
        TEXT: (ResidentFeatures(IDS, SIZES, text_pooled=text),),
        IMAGE: (ResidentFeatures(IDS, SIZES, image_pooled=image),),
    }
    labels = np.arange(len(IDS)) % 2
    means = {TEXT: text.mean(0), IMAGE: image.mean(0)}
    return RescoredRun(
        run=SimpleNamespace(config={"data": {"classes": ["no", "yes"]}}),
        model=model,
        inputs=Inputs(JoinedFeatures(sources)),
        labels=labels,
        classes=("no", "yes"),
        constants=lambda modality, _: [Constant(pooled=means[modality])],
    )


def one_hot(places):
    return torch.eye(2)[torch.from_numpy(np.asarray(places))]


def entry(*weights):
    """The text names the class; the picture does so for half of the posts, else the other."""
    labels = np.arange(len(IDS)) % 2
    wrong = np.arange(len(IDS)) % 4 >= 2
    run = run_of(weights, one_hot(labels), one_hot(labels ^ wrong))
    return RescoredEntry("head", "sum", (run,))


def ablation_of(*weights):
    return ablated(entry(*weights), Resampler(len(IDS), OPTIONS), OPTIONS)


def test_shapley_values_of_a_game_are_those_of_its_table():
    """Glove game: one hand alone is worth nothing, the pair 1; each gets a half."""
    nothing, alone, whole = np.zeros(3), np.zeros(3), np.ones(3)
    found = shapley(nothing, alone, alone, whole)
    assert (found.text == 0.5).all()
    assert (found.image == 0.5).all()
    assert (found.interaction == 1).all()
    drawn = np.random.default_rng(0).random((4, 7))
    found = shapley(*drawn)
    np.testing.assert_allclose(found.text + found.image, drawn[3] - drawn[0])


def test_a_head_that_follows_its_text_owes_all_to_it():
    found = ablation_of(10.0, 1.0)
    assert found.whole[Score.ACCURACY][0] == 1
    shares = found.shapley(Score.ACCURACY, Replacement.MEAN)
    # without text it follows the picture, right for half of the posts, as a constant answer is
    assert shares.text[0] == pytest.approx(0.5)
    assert shares.image[0] == pytest.approx(0.0)
    assert shares.interaction[0] == pytest.approx(0.0)
    assert found.flips[IMAGE][0] == 0
    assert found.change(IMAGE, "shuffle", Score.ACCURACY)[0] == 0
    assert found.change(TEXT, "mean", Score.ACCURACY)[0] == -0.5


def test_exchanged_texts_are_right_as_often_as_chance():
    found = ablation_of(10.0, 0.0)
    accuracy = 1 + found.change(TEXT, "shuffle", Score.ACCURACY)
    assert abs(accuracy[0] - 0.5) < 3 * np.sqrt(0.25 / (len(IDS) * OPTIONS.draws))
    assert abs(found.flips[TEXT][0] - 0.5) < 0.05


def gain_of(difference, low, high, p_value):
    test = PairTest(0, 1, difference, (low, high), p_value, p_value, None, None)
    return Gain("text", TEXT, True, test)


def test_failures_of_fusion_are_named():
    """One modality is not read at all, is read for nothing, or both are needed."""
    nothing_gained, gained = gain_of(0.0, -0.02, 0.02, 1.0), gain_of(0.5, 0.4, 0.6, 1e-9)
    unread = signatures(ablation_of(10.0, 1.0), nothing_gained)
    assert set(unread) == {"reads_one_modality", "stalls_at_one_modality"}
    assert "head reads the text alone" in unread["reads_one_modality"]
    # its picture, which is right for half of the posts, outweighs the text
    misled = signatures(ablation_of(1.0, 2.0), gain_of(-0.5, -0.6, -0.4, 1e-9))
    assert "head reads the image alone" in misled["reads_one_modality"]
    assert "stalls_at_one_modality" in misled
    labels = np.arange(len(IDS)) % 2
    shown = np.arange(len(IDS)) % 4 < 2
    # each modality names the class of half of the posts, and nothing for the others
    text, image = (one_hot(labels) * torch.from_numpy(hit)[:, None] for hit in (shown, ~shown))
    both = RescoredEntry("head", "sum", (run_of((1.0, 1.0), text, image),))
    assert not signatures(ablated(both, Resampler(len(IDS), OPTIONS), OPTIONS), gained)


def test_several_draws_and_seeds_are_repeatable():
    one, other = ablation_of(1.0, 2.0), ablation_of(1.0, 2.0)
    assert (
        one.change(TEXT, "shuffle", Score.LOG_LOSS) == other.change(TEXT, "shuffle", Score.LOG_LOSS)
    ).all()


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    root = tmp_path_factory.mktemp("contribution")
    write_synthetic(root / "data", SyntheticConfig(posts=300, image_px=32))
    posts = read_posts(root / "data")
    for name in ("tiny-text", "tiny-image"):
        extract(posts, BackboneOptions(name), ExtractOptions(cache=root / "cache"), NoProgress())
    return RunMaker(root, "random-5:1:4")


@pytest.fixture(scope="module")
def runs(make):
    return {
        "both": make("logistic"),
        "text": make("text", epochs=15),
        "image": make("image", epochs=15),
    }


def test_on_synthetic_posts_both_contribute_alike_and_fusion_helps(runs):
    """Either modality reaches 70 %, both 97 %: gain and shares follow from how they are drawn."""
    found = contribution(list(runs.values()), OPTIONS, NoProgress())
    (figures,) = found.values.values()
    assert any("fusion helps" in line for line in found.verdict)
    assert figures["signatures"] == []
    assert 0.1 < figures["gain"] < 0.4
    shares = figures["shapley"]["accuracy"]
    assert abs(shares["text"] - shares["image"]) < 0.15
    assert min(shares["text"], shares["image"]) > 0.1
    groups = [row[1] for row in found.table("by the labels").rows]
    assert groups == ["alike", "text neutral", "image neutral"]
    # where one label is neutral the other modality alone names the post
    gains = {row[1]: row[4].value for row in found.table("by the labels").rows}
    over = found.table("gain").rows[0][2]
    assert gains[f"{over} neutral"] == max(gains.values())


def test_without_heads_of_one_modality_a_head_is_compared_with_itself(runs):
    found = contribution([runs["both"]], OPTIONS, NoProgress())
    assert "against its own ablation" in found.verdict[0]
    assert found.table("gain").rows[0][2] in ("own text", "own image")


def test_runs_of_one_modality_are_refused(runs):
    with pytest.raises(RunError, match="None of these runs reads both") as refused:
        contribution([runs["text"]], OPTIONS, NoProgress())
    assert "mvsa fit --head native-cat" in str(refused.value.hint)


def test_posts_without_both_labels_are_refused_only_where_these_are_asked_for(runs, make):
    (make.root / "data").rename(make.root / "moved")
    try:
        found = contribution([runs["both"]], OPTIONS, NoProgress())
        with pytest.raises(DataError, match="cannot be grouped"):
            contribution([runs["both"]], replace(OPTIONS, by_labels=True), NoProgress())
    finally:
        (make.root / "moved").rename(make.root / "data")
    assert not any(table.title.startswith("by the labels") for table in found.tables)
    assert any("Left out" in line for line in found.method)
