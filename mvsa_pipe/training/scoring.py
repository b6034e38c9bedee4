"""Predictions of a head, in batches of fixed size and order."""

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
from mvsa_pipe.training.data import TrainingData, by_length

# Posts per forward pass without training; results depend on it, so that it is never tuned.
SCORING_BATCH = 256


def text_lengths(model: Model, features: FeatureSource) -> Int[Tensor, " N"] | None:
    """Text tokens of every post, for heads whose batches may be formed by length.

    ``None`` for heads that read no tokens, and for those whose predictions depend on padding: they
    are batched as they were published.
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
        RunError: A probability is NaN or infinite, which ``argmax`` would turn into a class; names
            the posts.
    """

    def ask(batch: FeatureBatch, places: Int[Tensor, " B"]) -> Float[Tensor, "B C"]:
        read = model.reads_texts and texts is not None
        own = [texts[place] for place in places.tolist()] if read and texts else None
        return model.predict_proba(batch, own)

    shares = _in_batches(model, features, posts, ask).cpu()
    finite = shares.isfinite().all(dim=1)
    if not finite.all():
        hit = [features.post_ids[i] for i in posts.cpu()[~finite].tolist()]
        raise RunError(
            f"The head has no finite answer for {len(hit):,} posts: their logits are NaN or "
            "infinite",
            where=type(model).__name__,
            found=f"posts {name_some(hit)}",
            hint="mvsa cache verify checks the features; train again with a lower "
            "--learning-rate for smaller weights",
        )
    return shares.numpy()


def _in_batches(
    model: Model,
    features: FeatureSource,
    posts: Int[Tensor, " n"],
    ask: Callable[[FeatureBatch, Int[Tensor, " B"]], Float[Tensor, "B C"]],
) -> Float[Tensor, "n C"]:
    """Applies a model to batches of fixed size, formed by length if it reads tokens."""
    device, lengths = model.device, text_lengths(model, features)
    order = torch.arange(len(posts), device=posts.device)
    if lengths is not None:
        order = by_length(order, lengths[posts])
    batches = torch.split(posts[order], SCORING_BATCH)
    taken = zip(features.batches(batches, model.needs), batches, strict=True)
    answers = torch.cat([ask(batch.to(device), places) for batch, places in taken])
    return torch.empty_like(answers).index_copy_(0, order.to(device), answers)


def validation_entry(head: FusionHead, material: TrainingData) -> dict[str, float]:
    """Loss and scores on the validation posts: an entry of the history."""
    logits = predict_logits(head, material.features, material.val)
    labels = material.labels[material.val].to(logits.device)
    loss = float(F.cross_entropy(logits, labels))
    predicted = logits.argmax(dim=1).cpu().numpy()
    return validation_scores(loss, labels.cpu().numpy(), predicted, len(material.classes))
