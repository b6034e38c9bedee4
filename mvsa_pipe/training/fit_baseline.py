"""Fits baselines on the same data as heads, once per strength, and keeps the best."""

import time

from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.baselines.selection import LabelledRows, select
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.progress import OnStep
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.state import FittedModel, class_weights, require_convergence


def fit_baseline(
    baseline: Baseline, data: TrainingData, options: TrainingOptions, on_step: OnStep
) -> FittedModel:
    """Fits a baseline once per strength, and keeps the best on validation.

    Args:
        baseline: The baseline before its fit.
        data: Training and validation posts.
        options: The class weights, and the score that picks the strength.
        on_step: Called before every strength.

    Raises:
        SplitError: There are no training or no validation posts.
        DivergedError: A loss is not finite.
        DataError: From ``Baseline.fit``.
    """
    data.require_posts()
    began = time.perf_counter()
    weights = None
    if options.class_weights != "none":
        weights = class_weights(data, options).double().numpy()
    train, val = (_part(baseline, data, posts) for posts in (data.train, data.val))
    selection = select(baseline, train, val, weights, options.select, on_step)
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
