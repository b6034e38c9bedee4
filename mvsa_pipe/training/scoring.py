"""Predictions of a head, in batches of fixed size and order."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.devices import at_least_float32
from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.features.batch import FeatureBatch, Field
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.metrics.scores import validation_scores
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.training.data import TrainingData, by_length

# Posts per forward pass without training. Results depend on it, so it is a constant.
SCORING_BATCH = 256


def text_lengths(model: Model, features: FeatureSource) -> Int[Tensor, " N"] | None:
    """Text tokens of every post, for heads whose batches may be grouped by length.

    ``None`` for heads that read no tokens, and for faithful heads whose predictions depend on
    padding: their batches follow the published method.
    """
    reads_tokens = Field.TEXT_HIDDEN in model.needs
    return features.token_counts if reads_tokens and model.batch_independent else None


@torch.inference_mode()
def predict_logits(
    head: FusionHead, features: FeatureSource, posts: Int[Tensor, " n"]
) -> Float[Tensor, "n C"]:
    """Logits of some posts, in their order, in float32 or better on the head's device."""
    return _in_batches(head.eval(), features, posts, lambda batch, _: at_least_float32(head(batch)))


@torch.inference_mode()
def predict_probabilities(
    model: Model,
    features: FeatureSource,
    posts: Int[Tensor, " n"],
    texts: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Probability of each class for some posts ``[n, C]``.

    Args:
        model: A trained head or a fitted baseline, in eval mode.
        features: Features of these posts and others.
        posts: Their indices.
        texts: The texts of all posts of the features, for models that read them.

    Raises:
        RunError: A probability is NaN or infinite; ``argmax`` would still return a class. Names
            the posts.
    """

    def probabilities(batch: FeatureBatch, indices: Int[Tensor, " B"]) -> Float[Tensor, "B C"]:
        read = model.reads_texts and texts is not None
        own = [texts[index] for index in indices.tolist()] if read and texts else None
        return model.predict_proba(batch, own)

    shares = _in_batches(model, features, posts, probabilities).cpu()
    finite = shares.isfinite().all(dim=1)
    if not finite.all():
        hit = [features.post_ids[i] for i in posts.cpu()[~finite].tolist()]
        raise RunError(
            f"Logits of {len(hit):,} posts are not finite",
            where=type(model).__name__,
            found=f"posts {name_some(hit)}",
            hint="mvsa cache verify checks the features; a lower --learning-rate in a new "
            "training keeps weights small",
        )
    return shares.numpy()


def _in_batches(
    model: Model,
    features: FeatureSource,
    posts: Int[Tensor, " n"],
    apply: Callable[[FeatureBatch, Int[Tensor, " B"]], Float[Tensor, "B C"]],
) -> Float[Tensor, "n C"]:
    """Applies a model to batches of fixed size, grouped by length if it reads tokens."""
    device, lengths = model.device, text_lengths(model, features)
    order = torch.arange(len(posts), device=posts.device)
    if lengths is not None:
        order = by_length(order, lengths[posts])
    batches = torch.split(posts[order], SCORING_BATCH)
    taken = zip(features.batches(batches, model.needs), batches, strict=True)
    outputs = torch.cat([apply(batch.to(device), indices) for batch, indices in taken])
    return torch.empty_like(outputs).index_copy_(0, order.to(device), outputs)


def validation_entry(head: FusionHead, data: TrainingData) -> dict[str, float]:
    """Loss and scores on the validation posts: an entry of the history."""
    logits = predict_logits(head, data.features, data.val)
    labels = data.labels[data.val].to(logits.device)
    loss = float(F.cross_entropy(logits, labels))
    predicted = logits.argmax(dim=1).cpu().numpy()
    # of a diverged run the classes alone are scored; its loss ends it
    shares = logits.softmax(dim=1).cpu().numpy() if math.isfinite(loss) else None
    answers = Answers(labels.cpu().numpy(), predicted, len(data.classes), shares)
    return validation_scores(loss, answers)
