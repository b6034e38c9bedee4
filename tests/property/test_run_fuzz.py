"""Whatever stands in a run folder, every verb that opens it ends well or in one paragraph."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from run_mutation import MUTATIONS

from mvsa_pipe.analysis.compare import compare
from mvsa_pipe.analysis.options import CompareOptions
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.export.options import ExportOptions
from mvsa_pipe.export.write import export_run
from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.finetune.initial_run import Start
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.backbones import every_backbone
from mvsa_pipe.runs.evaluate import evaluate
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice, InferenceOptions
from mvsa_pipe.runs.predict import predict_one
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

HEADS = {"native-cat": {}, "boosting": {"terms": 20}, "cmac": {"width": 8, "hidden": 8}}
ON_CPU = InferenceOptions(device="cpu")


@pytest.fixture(scope="module")
def runs(pipeline, tmp_path_factory) -> Path:
    """One run of each of some heads, with features at hand."""
    root = tmp_path_factory.mktemp("fuzz") / "runs"
    training = TrainingOptions(epochs=1, device="cpu")
    data, caches = DataChoice(pipeline / "data"), CacheChoice(pipeline / "cache")
    for head, options in HEADS.items():
        experiment = prepare(data, caches, needs_of([head]))
        result = run_head(experiment, head, options, training)
        save_run(experiment, result, training, root, head)
    return root


def verbs(path: Path, other: Path, place: Path):
    """Calls of the library behind the verbs that open runs."""
    cache = replace(ON_CPU, cache=place / "cache")
    return {
        "evaluate": lambda: evaluate(open_run(path), cache, NoProgress()),
        "predict": lambda: predict_one(open_run(path), "a day", other, cache, NoProgress()),
        "compare": lambda: compare(
            [open_run(path), open_run(path.parent / "beside")], CompareOptions(resamples=10)
        ).as_record(),
        "export": lambda: export_run(
            open_run(path), ExportOptions(place / "out", onnx=False), NoProgress()
        ),
        "extract": lambda: every_backbone(open_run(path)),
        "finetune": lambda: fine_tune_from(path),
    }


def fine_tune_from(path: Path) -> None:
    """What ``mvsa finetune --from`` does with the run before it trains."""
    start = Start(open_run(path))
    start.require_head(start.head, {})
    widths = {}
    for modality in Modality:
        _, backbone = start.backbone(modality)
        start.require_backbone(modality, backbone)
        widths[modality] = backbone.width
        tokens = getattr(backbone, "tokens", 1)
    start.run.members()
    sizes = FeatureSizes(widths[Modality.TEXT], widths[Modality.IMAGE], tokens, 3)
    head = build_head(start.head, sizes, 0, start.head_options)
    if isinstance(head, FusionHead):  # others are refused by name
        start.fill(head, sizes)


def attempt(runs: Path, place: Path, picture: Path, seed: int) -> tuple[str, str, str]:
    """One mutation and one verb; returns both, and how it ended."""
    draw = random.Random(seed)
    path = place / "runs" / "one"
    shutil.rmtree(place / "runs", ignore_errors=True)
    shutil.rmtree(place / "out", ignore_errors=True)
    head = draw.choice(list(HEADS))
    shutil.copytree(runs / head, path)
    shutil.copytree(runs / head, path.parent / "beside")
    name = draw.choice([*MUTATIONS, "config.json", "config.json", "metrics.json"])
    if not (path / name).exists():  # a run has one of the two checkpoints
        name = "baseline.skops" if head == "boosting" else "head.safetensors"
    said = f"{head} {name}: {MUTATIONS[name](path / name, draw)}"
    every = verbs(path, picture, place)
    verb = draw.choice(list(every))
    try:
        every[verb]()
    except MvsaError as error:
        return verb, said, type(error).__name__
    except Exception as error:
        raise AssertionError(f"seed {seed}: {verb} of {said}") from error
    return verb, said, "done"


@pytest.mark.parametrize("block", range(6))
def test_no_run_folder_makes_a_verb_fall_over(runs, pipeline, tmp_path, block):
    shutil.copytree(pipeline / "cache", tmp_path / "cache")
    picture = next((pipeline / "data").rglob("*.jpg"))
    ends = {attempt(runs, tmp_path, picture, 1_000 * block + n)[2] for n in range(20)}
    assert "RunError" in ends
