"""Heads on damaged posts: known losses, and what is extracted and cached."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.analysis.degrade import degrade
from mvsa_pipe.analysis.finding import Estimate, Finding, LinePlot
from mvsa_pipe.analysis.options import DegradeOptions
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.errors import ConfigError, SplitError, UnknownNameError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic.write import SyntheticConfig, write_synthetic
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

POSTS, HEADS = 240, ("native-cat", "text", "image", "logistic")
QUICK = {"resamples": 200, "device": "cpu"}


class Lines(NoProgress):
    """Keeps what was started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(
        self, what: str, total: float, unit: str = "", *, may_end_early: bool = False
    ) -> None:
        del total, unit, may_end_early
        self.started.append(what)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs of each head, of which half of the posts are the test part."""
    root = tmp_path_factory.mktemp("degrade")
    write_synthetic(root / "data", SyntheticConfig(posts=POSTS, image_px=32))
    posts = read_posts(root / "data")
    for name in ("tiny-text", "tiny-image"):
        extract(posts, BackboneOptions(name), ExtractOptions(cache=root / "cache"), NoProgress())
    training = TrainingOptions(epochs=12, learning_rate=3e-3, device="cpu")
    data = DataChoice(path=root / "data", split="random-4:1:5")
    runs = {}
    for head in HEADS:
        experiment = prepare(data, CacheChoice(folder=root / "cache"), needs_of([head]))
        result = run_head(experiment, head, {}, training)
        runs[head] = open_run(save_run(experiment, result, training, root / "runs").path)
    return runs


@pytest.fixture
def cache(trained: dict[str, Run], tmp_path: Path) -> Path:
    """The caches of the undamaged posts."""
    folder = tmp_path / "cache"
    source = trained["text"].path.parents[1] / "cache"
    for name in ("synthetic-*[0-9a-f]", ".digests"):
        for found in source.glob(name):
            shutil.copytree(found, folder / found.name)
    return folder


def cell(finding: Finding, kind: str, head: str, column: str) -> float:
    table = finding.table(f"accuracy under {kind}")
    (row,) = (row for row in table.rows if row[0] == head)
    value = row[table.columns.index(column)]
    return value.value if isinstance(value, Estimate) else float(value)  # type: ignore[arg-type]


def curve(finding: Finding, kind: str, head: str) -> list[float]:
    (plot,) = (p for p in finding.plots if p.title == f"accuracy under {kind}")
    assert isinstance(plot, LinePlot)
    (series,) = (s for s in plot.series if s.name == head)
    for low, value, high in zip(series.low, series.y, series.high, strict=True):
        assert low <= value <= high
    return series.y


def test_noise_leaves_what_the_text_says(trained: dict[str, Run], cache: Path) -> None:
    """Saturated noise hides the picture: what the text says is all that a head can use."""
    runs = [trained["native-cat"], trained["image"], trained["text"]]
    options = DegradeOptions(damage=("noise",), strengths=("noise=0.05,9",), cache=cache, **QUICK)
    found = degrade(runs, options, NoProgress())
    test = [row for row in trained["image"].predictions() if row.split == "test"]
    shares = {row.label: 0 for row in test}
    for row in test:
        shares[row.label] += 1
    for run in runs[:2]:
        scores = curve(found, "noise", run.title)
        recorded = run.metrics["scores"]["test"]["values"]["accuracy"]
        assert scores[0] == pytest.approx(recorded, abs=1e-9)
    image = curve(found, "noise", "image")
    assert image[0] > 0.6
    # every picture looks alike: one class for nearly all posts
    assert min(abs(image[-1] - share / len(test)) for share in shares.values()) < 0.06
    assert curve(found, "noise", "native-cat")[-1] < curve(found, "noise", "native-cat")[0] - 0.1
    assert "do not read the image: text" in " ".join(found.verdict)
    assert {row[0] for row in found.tables[0].rows} == {"native-cat", "image"}


def test_the_area_is_that_of_the_trapezoid_rule(trained: dict[str, Run], cache: Path) -> None:
    options = DegradeOptions(strengths=("drop=0.2,0.5,0.9",), cache=cache, **QUICK)
    found = degrade([trained["text"], trained["logistic"]], options, NoProgress())
    for head in ("text", "logistic"):
        scores = curve(found, "drop", head)
        area = np.trapezoid(scores, np.linspace(0, 1, 4))
        assert cell(found, "drop", head, "mean change") == pytest.approx(area - scores[0])
    (row,) = found.table("which head").rows
    losses = [cell(found, "drop", str(head), "mean change") for head in row[1:3]]
    assert losses[0] >= losses[1]
    assert isinstance(row[3], Estimate)
    assert row[3].value == pytest.approx(losses[1] - losses[0])


def test_only_the_damaged_half_of_the_scored_posts_is_extracted_once(
    trained: dict[str, Run], cache: Path
) -> None:
    options = DegradeOptions(strengths=("grey=1",), cache=cache, **QUICK)
    run = trained["native-cat"]
    first, second = Lines(), Lines()
    found = degrade([run], options, first)
    again = degrade([run], options, second)
    assert found.tables == again.tables
    assert [each for each in first.started if "extract" in each] == ["extract tiny-image"]
    assert not [each for each in second.started if "extract" in each]
    name = run.config["data"]["name"]
    entries = [entry for entry in CacheFolder(cache).entries() if "+" in str(entry.path)]
    (entry,) = entries
    assert entry.file is not None
    assert entry.path.parent.name == entry.file.header.dataset == f"{name}+grey-1"
    tested = {row.post_id for row in run.predictions() if row.split == "test"}
    assert set(entry.file.header.ids) == tested
    # the undamaged posts are answered by their own cache alone
    (intact,) = CacheFolder(cache).fitting(name, Modality.IMAGE)
    assert intact.path.parent.name == name


def test_noise_on_features_needs_no_backbone(trained: dict[str, Run], cache: Path) -> None:
    """Noise of a thousand standard deviations leaves nothing of the feature that it is added to."""
    runs = [trained["native-cat"], trained["text"]]
    options = DegradeOptions(strengths=("text-features=0.001,1000",), cache=cache, **QUICK)
    lines = Lines()
    found = degrade(runs, options, lines)
    assert not [each for each in lines.started if "extract" in each]
    for head in ("native-cat", "text"):
        none, little, nothing = curve(found, "text-features", head)
        assert little == pytest.approx(none, abs=0.02)
        assert nothing < none - 0.1


def test_the_score_can_be_chosen(trained: dict[str, Run], cache: Path) -> None:
    options = DegradeOptions(
        strengths=("cut=0.5",), score="f1_macro", data=Path(trained["text"].config["data"]["path"]),
        cache=cache, **QUICK,
    )  # fmt: skip
    found = degrade([trained["text"]], options, NoProgress())
    recorded = trained["text"].metrics["scores"]["test"]["values"]["f1_macro"]
    assert found.tables[0].title.startswith("macro-F1 under cut")
    assert found.tables[0].rows[0][1] == pytest.approx(recorded, abs=1e-9)


def test_what_cannot_be_damaged_is_refused(trained: dict[str, Run], tmp_path: Path) -> None:
    def refused(head: str, **options: object) -> DegradeOptions:
        return degrade([trained[head]], DegradeOptions(**options), NoProgress())  # type: ignore

    with pytest.raises(ConfigError, match="which none of these runs reads") as caught:
        refused("text", damage=("blur",))
    assert "--damage cut" in caught.value.paragraph()
    with pytest.raises(UnknownNameError, match="did you mean blur"):
        refused("image", damage=("blurr",))
    with pytest.raises(ConfigError, match="such as jpeg=25,10,5"):
        refused("image", strengths=("jpeg=a lot",))
    with pytest.raises(ConfigError, match="has no strength 0"):
        refused("image", strengths=("blur=0",))
    write_synthetic(tmp_path / "other", SyntheticConfig(posts=60, seed=5, image_px=16))
    with pytest.raises(SplitError, match="not those of the run's part"):
        refused("text", damage=("cut",), data=tmp_path / "other", cache=tmp_path)
