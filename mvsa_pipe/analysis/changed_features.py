"""Changed features of one modality, in memory: constants, exchanged posts, mapped numbers.

Axes as in ``mvsa_pipe.features.batch``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.resident import RaggedText, ResidentFeatures
from mvsa_pipe.metrics.weighted import Classes
from mvsa_pipe.modality import Modality


@dataclass(frozen=True)
class Constant:
    """Features of one backbone that every post gets; they carry no information about it.

    Attributes:
        tokens: Text tokens of every post, so that lengths say nothing either; 0 of pictures.
        pooled: ``[D]``; ``None`` where no head reads it.
        hidden: ``[*L, D]``, one text token; ``[P, *L, D]`` of pictures.
    """

    tokens: int = 0
    pooled: Float[Tensor, " D"] | None = None
    hidden: Float[Tensor, "*P D"] | None = None

    def zeros(self) -> "Constant":
        """The same shape, all zero."""
        return self.mapped(torch.zeros_like)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Constant":
        """The same shape with other numbers."""
        pooled = None if self.pooled is None else change(self.pooled)
        hidden = None if self.hidden is None else change(self.hidden)
        return Constant(self.tokens, pooled, hidden)


@dataclass(frozen=True)
class Inputs:
    """What heads read of ``N`` posts; every change returns other inputs.

    Attributes:
        features: Features of each backbone.
        texts: Texts of the posts, for baselines that read terms.
    """

    features: JoinedFeatures
    texts: tuple[str, ...] | None = None

    @property
    def posts(self) -> int:
        """``N``."""
        return len(self.features.post_ids)

    def replaced(self, modality: Modality, constants: Sequence[Constant]) -> "Inputs":
        """Every post has the same features of one modality, and no text in place of its text."""
        sources = self._sources(modality)
        changed = [_constant(s, c) for s, c in zip(sources, constants, strict=True)]
        texts = ("",) * self.posts if modality is Modality.TEXT else self.texts
        return self._with(modality, changed, texts)

    def exchanged(self, modality: Modality, order: Classes) -> "Inputs":
        """Post ``i`` has the features of one modality of post ``order[i]``."""
        places = torch.from_numpy(np.asarray(order, np.int64))
        changed = [_exchanged(source, places) for source in self._sources(modality)]
        texts = self.texts
        if modality is Modality.TEXT and texts is not None:
            texts = tuple(texts[place] for place in order)
        return self._with(modality, changed, texts)

    def shuffled(self, modality: Modality, generator: np.random.Generator) -> "Inputs":
        """The features of one modality are drawn from the other posts of the part, each once."""
        return self.exchanged(modality, generator.permutation(self.posts))

    def mapped(self, modality: Modality, change: Callable[[Field, Tensor], Tensor]) -> "Inputs":
        """Numbers of one modality pass through a function.

        Args:
            modality: Text or image.
            change: Called once for each feature that is read of each backbone, with all posts:
                ``[N, D]`` pooled, ``[ΣT, *L, Dt]`` tokens of all texts end to end, or
                ``[N, P, *L, Di]``; returns the same shape and type.
        """
        changed = [_mapped(source, change) for source in self._sources(modality)]
        return self._with(modality, changed, self.texts)

    def _sources(self, modality: Modality) -> list[ResidentFeatures]:
        found = self.features.sources.get(modality, ())
        return [source for source in found if isinstance(source, ResidentFeatures)]

    def _with(
        self,
        modality: Modality,
        sources: Sequence[ResidentFeatures],
        texts: tuple[str, ...] | None,
    ) -> "Inputs":
        if not sources:
            return self  # the head does not read it
        others = dict(self.features.sources) | {modality: tuple(sources)}
        return Inputs(JoinedFeatures(others), texts if self.texts is not None else None)


def _constant(source: ResidentFeatures, constant: Constant) -> ResidentFeatures:
    posts = len(source.post_ids)

    def every(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.expand(posts, *values.shape)

    text = None
    if source.text_hidden is not None and constant.hidden is not None:
        states = constant.hidden.expand(constant.tokens, *constant.hidden.shape).contiguous()
        starts = torch.zeros(posts, dtype=torch.int64)
        text = RaggedText(states, starts, torch.full_like(starts, constant.tokens))
    return replace(
        source,
        text_hidden=text,
        text_pooled=None if source.text_pooled is None else every(constant.pooled),
        image_hidden=None if source.image_hidden is None else every(constant.hidden),
        image_pooled=None if source.image_pooled is None else every(constant.pooled),
    )


def _exchanged(source: ResidentFeatures, order: Tensor) -> ResidentFeatures:
    def taken(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.index_select(0, order)

    text = source.text_hidden
    if text is not None:
        text = RaggedText(text.states, text.offsets[order], text.lengths[order])
    return replace(
        source,
        text_hidden=text,
        text_pooled=taken(source.text_pooled),
        image_hidden=taken(source.image_hidden),
        image_pooled=taken(source.image_pooled),
    )


def _mapped(
    source: ResidentFeatures, change: Callable[[Field, Tensor], Tensor]
) -> ResidentFeatures:
    def changed(name: Field, values: Tensor | None) -> Tensor | None:
        return None if values is None else change(name, values)

    text = source.text_hidden
    if text is not None:
        text = replace(text, states=change(Field.TEXT_HIDDEN, text.states))
    return replace(
        source,
        text_hidden=text,
        text_pooled=changed(Field.TEXT_POOLED, source.text_pooled),
        image_hidden=changed(Field.IMAGE_HIDDEN, source.image_hidden),
        image_pooled=changed(Field.IMAGE_POOLED, source.image_pooled),
    )
