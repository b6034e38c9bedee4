"""Image backbones at work: every picture is decoded once for all of them."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.base import Encoded, ImageBackbone
from mvsa_pipe.cache.layout import PART_BYTES, Refusal
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction import work
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.contents import Content
from mvsa_pipe.extraction.forward import Forward, pinned
from mvsa_pipe.extraction.work import Batch, BatchResult, Computed, Parts, Work

# Processors scale the short side up to some 256 pixels, whatever the long one becomes: a line of
# 60,000 pixels would take 12 GB. Real pictures stay below 1:20.
_NARROWEST = 256


@dataclass
class _Pictures:
    """A batch of pictures as backbones see them."""

    posts: int
    items: list[list[Content]]
    pixels: list[NDArray[np.generic] | None]
    refused: list[tuple[Refusal, tuple[int, ...]]]


class ImageWork(Work):
    """Image backbones, fed with pictures that are decoded once for all of them.

    Args:
        forwards: The backbones.
        batch_size: Pictures a batch.
        clock: Where the time goes.
    """

    def __init__(
        self, forwards: Sequence[Forward[ImageBackbone]], batch_size: int, clock: Clock
    ) -> None:
        self.clock = clock
        self._forwards = forwards
        # Backbones of one preprocessing see the same pixels, which are made once.
        self._rules = [str(sorted(f.backbone.identity.preprocessing.items())) for f in forwards]
        self._batch_size = batch_size

    @property
    def forwards(self) -> Sequence[Forward[ImageBackbone]]:
        """The backbones."""
        return self._forwards

    def parts(
        self, contents: Sequence[Content], lacking: Sequence[Set[str]], shares: int = 1
    ) -> Parts:
        """Cuts pictures in their order into parts of batches of equal size."""
        post_bytes = max(f.backbone.tokens * f.token_bytes + f.vector_bytes for f in self._forwards)
        fitting = max(1, PART_BYTES // post_bytes)
        size = min(self._batch_size, fitting)
        order = [item for item in contents if any(item.id in wanted for wanted in lacking)]
        most = min(fitting, work.most_posts_a_part(len(order), shares))
        posts_a_part = max(size, most - most % size)
        for start in range(0, len(order), posts_a_part):
            part = order[start : start + posts_a_part]
            yield [
                tuple(tuple(i for i in part[at : at + size] if i.id in ids) for ids in lacking)
                for at in range(0, len(part), size)
            ]

    def read(self, batch: Batch) -> _Pictures:
        """Decodes every picture once and prepares it for each backbone that takes it."""
        takers: dict[str, tuple[Content, list[int]]] = {}
        for number, items in enumerate(batch):
            for item in items:
                takers.setdefault(item.id, (item, []))[1].append(number)
        items_of: list[list[Content]] = [[] for _ in batch]
        pixels_of: list[list[NDArray[np.generic]]] = [[] for _ in batch]
        refused = []
        for item, numbers in takers.values():
            try:
                made = self._prepared(item, numbers)
            except DataError as error:
                refused.append((Refusal(item.id, item.digest, error.what), tuple(numbers)))
                continue
            for number, pixels in zip(numbers, made, strict=True):
                items_of[number].append(item)
                pixels_of[number].append(pixels)
        with self.clock.stage(Stage.TRANSFORM):
            stacked = [np.stack(pixels) if pixels else None for pixels in pixels_of]
        return _Pictures(len(takers), items_of, stacked, refused)

    def _prepared(self, item: Content, numbers: Sequence[int]) -> list[NDArray[np.generic]]:
        with self.clock.stage(Stage.DECODE):
            image = item.open_image(self._forwards[numbers[0]].backbone.decode)
        if max(image.size) > _NARROWEST * min(image.size):
            raise DataError("A picture is too narrow for a backbone to see", found=image.size)
        with self.clock.stage(Stage.TRANSFORM):
            made: dict[str, NDArray[np.generic]] = {}
            for number in numbers:
                if self._rules[number] not in made:
                    made[self._rules[number]] = self._forwards[number].backbone.prepare(image)
            return [made[self._rules[number]] for number in numbers]

    def launch(self, ready: _Pictures) -> tuple[_Pictures, list[Encoded | None]]:
        """Starts every backbone on its pictures."""
        with self.clock.stage(Stage.MODEL):
            encoded = [
                None
                if pixels is None
                else forward.launch(forward.encode, pinned(pixels, forward.device))
                for forward, pixels in zip(self._forwards, ready.pixels, strict=True)
            ]
        ready.pixels = []
        return ready, encoded

    def collect(self, launched: tuple[_Pictures, list[Encoded | None]]) -> BatchResult:
        """Hidden states and pooled vectors of every backbone."""
        ready, encoded = launched
        with self.clock.stage(Stage.TO_HOST):
            computed = [
                None if values is None else Computed(items, *forward.collect(values), None)
                for forward, items, values in zip(self._forwards, ready.items, encoded, strict=True)
            ]
        return BatchResult(ready.posts, computed, ready.refused)
