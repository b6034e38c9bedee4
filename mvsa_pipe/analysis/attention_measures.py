"""Attention of a run over the scored posts: entropies, where weights go, equal weights instead.

Axes beyond the common legend: ``h`` attention heads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvsa_pipe.analysis.rescoring import RescoredRun
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.attention_maps import (
    AttentionLayer,
    AttentionMap,
    Kind,
    attention_maps,
    with_equal_attention,
)
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.metrics.weighted import Answers, Floats

# Weights of all pairs of tokens are held at once.
_POSTS_AT_ONCE = 64


@dataclass(frozen=True)
class LayerMeasures:
    """One layer over ``N`` posts.

    Attributes:
        name: The layer.
        entropy: Normalised entropy of each attention head ``[N, h]``; NaN where undefined.
        mass: Share of the weights on each kind of key ``[N]``.
        equal_mass: The same share with equal weights ``[N]``.
    """

    name: str
    entropy: Floats
    mass: dict[Kind, Floats]
    equal_mass: dict[Kind, Floats]


def layers_of(model: Model) -> tuple[AttentionLayer, ...]:
    """The attention of a model over tokens; none of baselines, ensembles and faithful variants."""
    return model.attention_layers() if isinstance(model, FusionHead) else ()


def measured(run: RescoredRun) -> list[LayerMeasures]:
    """Measures every layer of a run over the scored posts."""
    head, layers = _head_of(run), layers_of(run.model)
    parts: list[list[LayerMeasures]] = [[] for _ in layers]
    with torch.inference_mode():
        for batch in _batches(run):
            for own, found in zip(parts, attention_maps(head, layers, batch), strict=True):
                own.append(_measures(found))
    return [_joined(own) for own in parts]


def equal_answers(run: RescoredRun) -> Answers:
    """Predictions of a run whose attention weighs all real tokens alike."""
    head, layers = _head_of(run), layers_of(run.model)
    with torch.inference_mode():
        shares = [
            with_equal_attention(head, layers, batch).float().softmax(dim=1).cpu()
            for batch in _batches(run)
        ]
    own = list(run.run.config["data"]["classes"])
    values = torch.cat(shares).numpy()[:, [own.index(name) for name in run.classes]]
    predicted = values.argmax(axis=1)
    return Answers(run.labels, predicted, len(run.classes), values.astype(np.float64))


def maps_of_post(run: RescoredRun, post_id: str) -> list[AttentionMap]:
    """The maps of one of the scored posts, alone in its batch."""
    place = run.inputs.features.post_ids.index(post_id)
    with torch.inference_mode():
        (batch,) = _batches(run, [place])
        return attention_maps(_head_of(run), layers_of(run.model), batch)


def _head_of(run: RescoredRun) -> FusionHead:
    assert isinstance(run.model, FusionHead)  # noqa: S101  # others have no layers
    return run.model.eval()


def _batches(run: RescoredRun, places: Sequence[int] | None = None) -> Iterator[FeatureBatch]:
    chosen = torch.arange(run.inputs.posts) if places is None else torch.tensor(list(places))
    features = run.inputs.features
    for batch in features.batches(torch.split(chosen, _POSTS_AT_ONCE), run.model.needs):
        yield batch.to(run.model.device)


def _measures(found: AttentionMap) -> LayerMeasures:
    def plain(values: Tensor) -> Floats:
        own: Floats = values.cpu().numpy()
        return own

    return LayerMeasures(
        found.layer.name,
        plain(found.entropy()),
        {kind: plain(share) for kind, share in found.mass().items()},
        {kind: plain(share) for kind, share in found.equal_mass().items()},
    )


def _joined(parts: Sequence[LayerMeasures]) -> LayerMeasures:
    def each(read: Callable[[LayerMeasures], dict[Kind, Floats]]) -> dict[Kind, Floats]:
        return {
            kind: np.concatenate([read(part)[kind] for part in parts]) for kind in read(parts[0])
        }

    return LayerMeasures(
        parts[0].name,
        np.concatenate([part.entropy for part in parts]),
        each(lambda part: part.mass),
        each(lambda part: part.equal_mass),
    )
