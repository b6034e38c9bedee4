"""Runs of two heads, trained once."""

from pathlib import Path

import pytest

from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

RANDOM, NEWEST = DataChoice(), CacheChoice()


@pytest.fixture
def make_run(workplace):
    """Trains a head on the posts as they lie in the workplace."""

    def make(
        head: str = "native-cat", data: DataChoice = RANDOM, caches: CacheChoice = NEWEST
    ) -> Run:
        assert Path.cwd() == workplace
        training = TrainingOptions(epochs=2, device="cpu")
        experiment = prepare(data, caches, needs_of([head]))
        result = run_head(experiment, head, {}, training)
        return open_run(save_run(experiment, result, training, Path("runs")).path)

    return make
