"""What a head says of posts, in batches of fixed size and order."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.devices import at_least_float32
from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.features import Field
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.metrics import Score, confusion_matrix, score_confusion
from mvsa_pipe.resident import ResidentFeatures
from mvsa_pipe.training.material import Material
from mvsa_pipe.training.order import by_length

# Posts a forward pass when nothing is trained; part of a run's arithmetic, so never tuned.
SCORING_BATCH = 256


def text_lengths(head: FusionHead, features: ResidentFeatures) -> Int[Tensor, " N"] | None:
    """Text tokens of every post, for heads whose batches may be formed by length.

    ``None`` for heads that read no tokens, and for those whose predictions depend on padding: they
    are batched as they were published.
    """
    reads_tokens = Field.TEXT_HIDDEN in head.needs
    return features.token_counts if reads_tokens and head.batch_independent else None


@torch.inference_mode()
def predict_logits(
    head: FusionHead, features: ResidentFeatures, posts: Int[Tensor, " n"]
) -> Float[Tensor, "n C"]:
    """Logits of some posts, in their order, in float32 or better on the head's device."""
    head.eval()
    device = next(head.parameters()).device
    lengths = text_lengths(head, features)
    order = torch.arange(len(posts), device=posts.device)
    if lengths is not None:
        order = by_length(order, lengths[posts])
    batches = torch.split(posts[order], SCORING_BATCH)
    logits = torch.cat(
        [
            at_least_float32(head(batch.to(device)))
            for batch in features.batches(batches, head.needs)
        ]
    )
    return torch.empty_like(logits).index_copy_(0, order.to(device), logits)


def predict_probabilities(
    head: FusionHead, features: ResidentFeatures, posts: Int[Tensor, " n"]
) -> NDArray[np.float32]:
    """Probability of each class for some posts ``[n, C]``.

    Raises:
        RunError: A logit is NaN or infinite, of which ``argmax`` would make a class; names the
            posts.
    """
    logits = predict_logits(head, features, posts)
    shares = logits.softmax(dim=1).cpu().numpy()
    finite = logits.isfinite().all(dim=1).cpu()
    if not finite.all():
        hit = [features.post_ids[i] for i in posts.cpu()[~finite].tolist()]
        raise RunError(
            f"The head has no finite answer for {len(hit):,} posts: their logits are NaN or "
            "infinite",
            where=type(head).__name__,
            found=f"posts {name_some(hit)}",
            hint="mvsa cache verify checks the features; a head trained anew with a lower "
            "--learning-rate has smaller weights",
        )
    return shares


def validation_entry(head: FusionHead, material: Material) -> dict[str, float]:
    """Loss and scores on the validation posts, as an epoch's history tells them."""
    logits = predict_logits(head, material.features, material.val)
    labels = material.labels[material.val].to(logits.device)
    return {"val_loss": float(F.cross_entropy(logits, labels))} | {
        f"val_{name.value}": float(value)
        for name, value in _scores(logits, labels, len(material.classes)).items()
    }


def _scores(
    logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"], classes: int
) -> dict[Score, NDArray[np.float64]]:
    predictions = logits.argmax(dim=1).cpu().numpy()
    return score_confusion(confusion_matrix(labels.cpu().numpy(), predictions, classes))


def is_better(entry: dict[str, Any], than: dict[str, Any], select: Score) -> bool:
    """A higher score; of equal ones the lower loss."""
    key = f"val_{select.value}"
    return (entry[key], -entry["val_loss"]) > (than[key], -than["val_loss"])
