"""Fits baselines on the same data as heads, once per strength, and keeps the best."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.baselines.selection import LabelledRows, select
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.epochs import EpochReport, OnEpoch, ignore_epoch
from mvsa_pipe.training.options import RunSpec
from mvsa_pipe.training.state import FittedModel, class_weights, require_convergence


def fit_baseline(
    baseline: Baseline,
    data: TrainingData,
    spec: RunSpec,
    on_step: OnStep = no_callback,
    on_epoch: OnEpoch = ignore_epoch,
) -> FittedModel:
    """Fits a baseline once per strength, and keeps the best on validation.

    Args:
        baseline: The baseline before its fit.
        data: Training and validation posts.
        spec: The run, with class weights and the score that selects the strength.
        on_step: Callback before each strength.
        on_epoch: Callback after each strength.

    Raises:
        SplitError: There are no training or no validation posts.
        DivergedError: A loss is not finite.
        DataError: From ``Baseline.fit``.
    """
    data.require_posts()
    options, most = spec.training, len(baseline.strengths)
    since = began = time.perf_counter()

    def report(history: Sequence[Mapping[str, Any]], best: int) -> None:
        nonlocal since
        done, seconds, since = len(history), time.perf_counter() - since, time.perf_counter()
        on_epoch(
            EpochReport(
                spec, done, most, history[-1], history[best], None, seconds, ended=done == most
            )
        )

    weights = None
    if options.class_weights != "none":
        weights = class_weights(data, options).double().numpy()
    train, val = (_part(baseline, data, posts) for posts in (data.train, data.val))
    selection = select(baseline, train, val, weights, options.select, on_step, report)
    for entry in selection.history:
        require_convergence(entry, f"at strength {entry['strength']:g}", baseline, options)
    seconds = time.perf_counter() - began
    return FittedModel(selection.baseline, selection.history, selection.best, seconds)


def _part(baseline: Baseline, data: TrainingData, posts: Int[Tensor, " n"]) -> LabelledRows:
    texts = None
    if baseline.reads_texts and data.texts is not None:
        texts = [data.texts[place] for place in posts.tolist()]
    batch = batch_of(data.features, posts, baseline.needs)
    return LabelledRows(baseline.frame(batch, texts), data.labels[posts].cpu().numpy())
