"""A bench of heads against skorch's and scikit-learn's loops over the same features in memory.

The heads that skorch trains are this project's modules, with the same batches' size, epochs,
optimiser, schedule, clipping and selection by validation. This project's side is a whole
``mvsa bench``: it also reads the caches and writes a folder of every run. The loops only return
scores on the test posts.
"""

import copy
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import material
import numpy as np
import torch
from rounds import Contest, Sides, Variant
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mvsa_pipe.baselines.logistic import Logistic
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.outcomes import FinishedRun
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.devices import usable_cores
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features.batch import POOLED, FeatureBatch
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.options import ClassifierOptions
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment, prepare_heads
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.step import learning_rate_factor

REQUIRES = ("skorch", "sklearn")
POSTS, SEEDS = 2000, 5
HEADS = ("native-cat", "gated", "basic")
TRAINING = TrainingOptions(epochs=5, patience=0, device="cpu")
# Standard errors of an accuracy by which mean scores of one head may differ: other draws decide.
ERRORS = 3.0

# Test accuracy of every run, by head.
Scores = dict[str, list[float]]


def measure(posts: int, rounds: int, sides: Sides, scratch: Path) -> dict[str, Any]:
    """Neural heads, a multi-layer perceptron, and the baseline of logistic regression."""
    every = material.posts(posts, scratch)
    options = ExtractOptions(cache=scratch / "cache", device="cpu")
    extract_all(every, material.backbones(), options, NoProgress())
    given = posts, scratch
    tested = len(_experiment(*given).indices["test"])
    apart = partial(_apart, tested)
    contests = {
        f"{len(HEADS)} heads, {SEEDS} seeds each": (HEADS, {"skorch": skorch_heads}),
        f"native-cat, {SEEDS} seeds": (("native-cat",), {"MLPClassifier": perceptrons}),
        "logistic, every strength": (("logistic",), {"LogisticRegression": regressions}),
    }
    return {
        name: sides.compared(
            Contest(
                Variant(partial(bench, heads, *given), partial(scores_of_bench, heads, *given)),
                {
                    peer: [
                        Variant(
                            partial(_with_threads, threads, loop, *given),
                            setting=f"{threads} threads",
                        )
                        for threads in {1, usable_cores()}
                    ]
                    for peer, loop in loops.items()
                },
                apart,
                1.0,
            ),
            rounds,
        )
        for name, (heads, loops) in contests.items()
    }


def bench(heads: tuple[str, ...], posts: int, scratch: Path) -> Path:
    """Trains some heads with every seed, and writes a folder of every run."""
    folder, _ = _benched(heads, posts, scratch)
    return folder


def scores_of_bench(heads: tuple[str, ...], posts: int, scratch: Path) -> Scores:
    """The scores in such folders."""
    _, scores = _benched(heads, posts, scratch)
    return scores


def _benched(heads: tuple[str, ...], posts: int, scratch: Path) -> tuple[Path, Scores]:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    options = BenchOptions(heads=heads, seeds=1 if heads == ("logistic",) else SEEDS)
    data, caches = _choices(posts, scratch)
    done = run_bench(data, caches, options, TRAINING, NoProgress(), folder)
    scores: Scores = {head: [] for head in heads}
    for run in done.runs:
        assert isinstance(run, FinishedRun), run
        answers = run.predictions["test"]
        scores[run.trial.spec.head].append(float(np.mean(answers.predicted == answers.labels)))
    return folder, scores


def skorch_heads(posts: int, scratch: Path) -> Scores:
    """Every head with every seed by ``NeuralNetClassifier``, one after the other."""
    parts = _parts(posts, scratch)
    return {
        head: [_skorch(head, seed, posts, scratch, parts) for seed in range(SEEDS)]
        for head in HEADS
    }


def _skorch(head: str, seed: int, posts: int, scratch: Path, parts: "Parts") -> float:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import EarlyStopping, EpochScoring, GradientNormClipping, LRScheduler
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    torch.manual_seed(seed)
    (x, y), (val_x, val_y), (test_x, test_y) = parts["train"], parts["val"], parts["test"]
    steps = -(-len(y) // TRAINING.batch_size) * TRAINING.epochs
    rate = partial(learning_rate_factor, options=TRAINING, steps=steps)
    net = NeuralNetClassifier(
        _module(head, seed, posts, scratch),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=TRAINING.weight_decay,
        optimizer__fused=True,
        lr=TRAINING.learning_rate,
        max_epochs=TRAINING.epochs,
        batch_size=TRAINING.batch_size,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(val_x, val_y)),
        callbacks=[
            EpochScoring("f1_macro", lower_is_better=False, name="f1"),
            GradientNormClipping(TRAINING.clip_norm),
            LRScheduler(torch.optim.lr_scheduler.LambdaLR, step_every="batch", lr_lambda=rate),
            EarlyStopping(
                "f1", patience=TRAINING.epochs, lower_is_better=False, load_best=True, sink=_silent
            ),
        ],
        verbose=0,
    )
    net.fit(x, y)
    return float(np.mean(net.predict(test_x) == test_y))


class KeywordModule(nn.Module):
    """A head that takes features by keyword, as skorch hands over a dictionary."""

    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, **features: Tensor) -> Tensor:
        """Logits."""
        return self.head(FeatureBatch(**features))


def _module(name: str, seed: int, posts: int, scratch: Path) -> nn.Module:
    """A head as a training of this project begins with: its weights, and the centre of vectors."""
    data = _experiment(posts, scratch).training_data
    head = build_head(name, data.features.sizes, seed)
    assert isinstance(head, FusionHead)
    with torch.no_grad():
        head.centre(batch_of(data.features, data.train, head.needs))
    return KeywordModule(head)


def perceptrons(posts: int, scratch: Path) -> Scores:
    """scikit-learn's perceptron as wide as native-cat's, by epochs, the best one on validation."""
    from sklearn.metrics import f1_score
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    (x, y), (val_x, val_y), (test_x, test_y) = (_joined(p) for p in _parts(posts, scratch).values())
    scores = []
    for seed in range(SEEDS):
        scale = StandardScaler().fit(x)
        net = MLPClassifier(
            (ClassifierOptions.hidden,),
            batch_size=TRAINING.batch_size,
            learning_rate_init=TRAINING.learning_rate,
            random_state=seed,
        )
        best, kept = -1.0, net
        for _ in range(TRAINING.epochs):
            net.partial_fit(scale.transform(x), y, classes=np.unique(y))
            found = f1_score(val_y, net.predict(scale.transform(val_x)), average="macro")
            if found > best:
                best, kept = found, copy.deepcopy(net)
        scores.append(float(np.mean(kept.predict(scale.transform(test_x)) == test_y)))
    return {"native-cat": scores}


def regressions(posts: int, scratch: Path) -> Scores:
    """scikit-learn's regression with every strength of the baseline, the best on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, y), (val_x, val_y), (test_x, test_y) = (_joined(p) for p in _parts(posts, scratch).values())
    best, kept = -1.0, None
    for strength in Logistic.strengths:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=20_000))
        model.fit(x, y)
        found = f1_score(val_y, model.predict(val_x), average="macro")
        if found > best:
            best, kept = found, model
    return {"logistic": [float(np.mean(kept.predict(test_x) == test_y))]}


def _with_threads(
    threads: int, loop: Callable[[int, Path], Scores], posts: int, scratch: Path
) -> Scores:
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        return loop(posts, scratch)


# Features by name and classes of each part.
Parts = dict[str, tuple[dict[str, Tensor], np.ndarray]]


@cache
def _parts(posts: int, scratch: Path) -> Parts:
    experiment = _experiment(posts, scratch)
    features, found = experiment.training_data.features, {}
    for part in ("train", "val", "test"):
        batch = batch_of(features, experiment.indices[part], POOLED)
        values = {name: value.float() for name, value in batch.tensors()}
        found[part] = values, experiment.labels_of(part)
    return found


def _joined(part: tuple[dict[str, Tensor], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values, labels = part
    return np.concatenate([value.double().numpy() for value in values.values()], axis=1), labels


@cache
def _experiment(posts: int, scratch: Path) -> Experiment:
    return prepare_heads(*_choices(posts, scratch), HEADS)


@cache
def _choices(posts: int, scratch: Path) -> tuple[DataChoice, CacheChoice]:
    every = material.posts(posts, scratch)
    return DataChoice(every.path, given=every), CacheChoice(scratch / "cache")


def _apart(tested: int, one: Scores, other: Scores) -> float:
    """The largest difference of a head's mean accuracy, in standard errors of ``ERRORS``."""
    error = ERRORS * (0.25 / tested) ** 0.5
    return max(abs(fmean(one[head]) - fmean(other[head])) / error for head in one)


def _silent(*_: object) -> None:
    """Swallows what a callback prints."""
