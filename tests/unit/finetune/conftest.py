"""Posts, float32 caches, and fine-tunings of them in small."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvsa_pipe.finetune.options import LiveChoice, RunFolderOptions, TuningOptions
from mvsa_pipe.finetune.processes import Processes
from mvsa_pipe.finetune.run import FinetuneSpec, finetune
from mvsa_pipe.progress import NoProgress, Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, batch_size=16, device="cpu")
FROZEN = TuningOptions(text_learning_rate=0.0, image_learning_rate=0.0)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 posts with their features in float32; read it only."""
    from mvsa_pipe.backbones.options import BackboneOptions
    from mvsa_pipe.cache.fingerprint import StoredDtype
    from mvsa_pipe.extraction.extract import extract_all
    from mvsa_pipe.extraction.options import ExtractOptions
    from mvsa_pipe.posts import read_posts
    from mvsa_pipe.posts.synthetic.config import SyntheticConfig
    from mvsa_pipe.posts.synthetic.write import write_synthetic

    root = tmp_path_factory.mktemp("small")
    write_synthetic(root / "data", SyntheticConfig(posts=30, image_px=32))
    how = ExtractOptions(
        cache=root / "cache", device="cpu", precision="float32", dtype=StoredDtype.FLOAT32
    )
    backbones = [BackboneOptions(name) for name in ("tiny-text", "tiny-image")]
    extract_all(read_posts(root / "data"), backbones, how, NoProgress())
    return root


@pytest.fixture
def data(small: Path) -> DataChoice:
    return DataChoice(path=small / "data", split="random-6:2:2")


@pytest.fixture
def fit(small: Path, data: DataChoice, tmp_path: Path) -> Callable[..., Run]:
    """``mvsa fit`` over those features."""

    def run(head: str = "native-cat", training: TrainingOptions = TRAINING, **how: Any) -> Run:
        caches = CacheChoice(how.get("cache", small / "cache"))
        experiment = prepare(how.get("data", data), caches, needs_of([head]))
        result = run_head(experiment, head, {}, training)
        return save_run(experiment, result, training, tmp_path / "fitted")

    return run


@pytest.fixture
def tune(small: Path, data: DataChoice, tmp_path: Path) -> Callable[..., Run]:
    """``mvsa finetune`` of the backbones that they came from."""

    def run(
        head: str | None = "native-cat",
        training: TrainingOptions = TRAINING,
        tuning: TuningOptions = FROZEN,
        progress: Progress | None = None,
        processes: Processes = Processes(),  # noqa: B008  # frozen
        **how: Any,
    ) -> Run:
        place = replace(RunFolderOptions(runs=tmp_path / "runs"), **how.pop("place", {}))
        choice = how.pop("choice", LiveChoice(CacheChoice(small / "cache")))
        wanted = FinetuneSpec(head, {}, how.pop("data", data), choice, training, tuning, place)
        done = finetune(wanted, processes, progress or NoProgress())
        assert done is not None
        return done

    return run
