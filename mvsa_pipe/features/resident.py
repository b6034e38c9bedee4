"""Features of many posts in memory, from which any batch is one index selection."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field


@dataclass(frozen=True)
class RaggedText:
    """Token states of all posts end to end.

    Attributes:
        states: ``[ΣT, Dt]``, or ``[ΣT, L, Dt]`` of several layers.
        offsets: Where each post begins ``[N]``.
        lengths: Tokens of each post ``[N]``.
    """

    states: Float[Tensor, "_ *L Dt"]
    offsets: Int[Tensor, " N"]
    lengths: Int[Tensor, " N"]

    def longest(self, chosen: Sequence[Int[Tensor, " _"]]) -> list[int]:
        """Tokens of the longest text of each batch, fetched from the device once for all."""
        every = [self.lengths[posts].max() for posts in chosen]
        return torch.stack(every).tolist() if every else []

    def padded(
        self, posts: Int[Tensor, " B"], longest: int
    ) -> tuple[Float[Tensor, "B T *L Dt"], Bool[Tensor, "B T"]]:
        """Hidden states of some posts and their mask.

        Args:
            posts: Their indices.
            longest: ``T``, no less than the tokens of any of them.
        """
        lengths = self.lengths[posts]
        steps = torch.arange(longest, device=posts.device)
        mask = steps < lengths[:, None]
        # Positions of padding point at the post's first token: valid to read, masked afterwards.
        places = self.offsets[posts][:, None] + torch.where(mask, steps, 0)
        states = self.states.index_select(0, places.reshape(-1))
        return states.view(*mask.shape, *self.states.shape[1:]), mask

    def to(self, device: torch.device) -> "RaggedText":
        """The same states on another device."""
        return RaggedText(self.states.to(device), self.offsets.to(device), self.lengths.to(device))


@dataclass(frozen=True)
class ResidentFeatures:
    """The features that heads declared, of ``N`` posts, on one device.

    Attributes:
        post_ids: The posts, in the order of every index.
        sizes: What a head is built for.
        text_hidden: Token states.
        text_pooled: ``[N, Dt]``.
        image_hidden: ``[N, P, Di]``, or ``[N, P, L, Di]`` of several layers.
        image_pooled: ``[N, Di]``.
    """

    post_ids: tuple[str, ...]
    sizes: FeatureSizes
    text_hidden: RaggedText | None = None
    text_pooled: Float[Tensor, "N Dt"] | None = None
    image_hidden: Float[Tensor, "N P *L Di"] | None = None
    image_pooled: Float[Tensor, "N Di"] | None = None

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None:
        """Text tokens of every post; ``None`` without token states."""
        return self.text_hidden.lengths if self.text_hidden else None

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors."""
        text = [self.text_hidden.states] if self.text_hidden else []
        tensors = [*text, self.text_pooled, self.image_hidden, self.image_pooled]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of each batch of posts, in order.

        On a GPU no batch waits for what was computed before it: the lengths of the longest texts,
        which this process must know, are fetched before the first batch.
        """
        wanted, every = frozenset(needs), list(chosen)
        text = self.text_hidden if Field.TEXT_HIDDEN in wanted else None
        longest = [0] * len(every) if text is None else text.longest(every)
        return (self._batch(*each, wanted) for each in zip(every, longest, strict=True))

    def _batch(
        self, posts: Int[Tensor, " B"], longest: int, wanted: frozenset[Field]
    ) -> FeatureBatch:
        hidden = mask = None
        if Field.TEXT_HIDDEN in wanted and self.text_hidden is not None:
            hidden, mask = self.text_hidden.padded(posts, longest)
        return FeatureBatch(
            text_hidden=hidden,
            text_mask=mask,
            text_pooled=_selected(self.text_pooled, posts, Field.TEXT_POOLED in wanted),
            image_hidden=_selected(self.image_hidden, posts, Field.IMAGE_HIDDEN in wanted),
            image_pooled=_selected(self.image_pooled, posts, Field.IMAGE_POOLED in wanted),
        )

    def to(self, device: torch.device) -> "ResidentFeatures":
        """The same features on another device."""
        return replace(
            self,
            text_hidden=self.text_hidden.to(device) if self.text_hidden else None,
            text_pooled=_moved(self.text_pooled, device),
            image_hidden=_moved(self.image_hidden, device),
            image_pooled=_moved(self.image_pooled, device),
        )


def _selected(values: Tensor | None, posts: Tensor, wanted: bool) -> Tensor | None:
    return values.index_select(0, posts) if wanted and values is not None else None


def _moved(values: Tensor | None, device: torch.device) -> Tensor | None:
    return None if values is None else values.to(device)
