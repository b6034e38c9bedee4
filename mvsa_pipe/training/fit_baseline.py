"""Fits baselines on the same material as heads, with every strength, and keeps the best."""

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
    baseline: Baseline, material: TrainingData, options: TrainingOptions, on_step: OnStep
) -> FittedModel:
    """Fits a baseline with every strength, and keeps the best on validation.

    Args:
        baseline: The baseline before its fit.
        material: What it is fitted to and selected by.
        options: The class weights, and the score that picks the strength.
        on_step: Called before every strength.

    Raises:
        SplitError: There is nothing to fit it to or to select it by.
        DivergedError: A loss is no finite number.
        DataError: As ``Baseline.fit``.
    """
    material.require_posts()
    began = time.perf_counter()
    weights = None
    if options.class_weights != "none":
        weights = class_weights(material, options).double().numpy()
    train, val = (_part(baseline, material, posts) for posts in (material.train, material.val))
    selection = select(baseline, train, val, weights, options.select, on_step)
    for entry in selection.history:
        require_convergence(entry, f"at strength {entry['strength']:g}", baseline, options)
    seconds = time.perf_counter() - began
    return FittedModel(selection.baseline, selection.history, selection.best, seconds)


def _part(baseline: Baseline, material: TrainingData, posts: Int[Tensor, " n"]) -> LabelledRows:
    texts = None
    if baseline.reads_texts and material.texts is not None:
        texts = [material.texts[place] for place in posts.tolist()]
    batch = batch_of(material.features, posts, baseline.needs)
    return LabelledRows(baseline.frame(batch, texts), material.labels[posts].cpu().numpy())
