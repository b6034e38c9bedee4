"""Runs over synthetic posts, trained for the tests of analyses."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.ensemble import run_ensemble
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions


@dataclass(frozen=True)
class RunMaker:
    """Trains runs in one folder, which has ``data`` and ``cache``.

    Attributes:
        root: The folder.
        split: How posts are split.
    """

    root: Path
    split: str = "random-8:1:1"

    def __call__(
        self,
        head: str,
        *,
        seed: int = 0,
        seeds: Sequence[int] = (),
        options: Mapping[str, Any] | None = None,
        text: str = "tiny-text",
        mix: LayerMix = LayerMix.LAST,
        epochs: int = 2,
        track_attention: bool = False,
    ) -> Run:
        """A run of a head; an ensemble if several seeds are named."""
        training = TrainingOptions(
            epochs=epochs, device="cpu", seed=seed, track_attention=track_attention
        )
        experiment = self.experiment(head, text, mix)
        given = options or {}
        result = (
            run_ensemble(experiment, head, given, training, seeds)
            if seeds
            else run_head(experiment, head, given, training)
        )
        return open_run(save_run(experiment, result, training, self.root / "runs").path)

    def experiment(
        self, head: str, text: str = "tiny-text", mix: LayerMix = LayerMix.LAST
    ) -> Experiment:
        """Posts and features for a head."""
        return prepare(
            DataChoice(path=self.root / "data", split=self.split),
            CacheChoice(folder=self.root / "cache", text=text, features=FeatureOptions(0, mix)),
            needs_of([head]),
        )


def copied(pipeline: Path, root: Path) -> RunMaker:
    """Trains runs over a copy of some posts and their caches."""
    shutil.copytree(pipeline, root, dirs_exist_ok=True)
    return RunMaker(root)
