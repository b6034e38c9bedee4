"""Work of one text backbone: texts of similar length share a batch."""

from collections.abc import Iterator, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.base import Encoded, TextBackbone
from mvsa_pipe.cache.content import PART_BYTES
from mvsa_pipe.extraction import batches
from mvsa_pipe.extraction.batches import Batch, BatchResult, BatchWork, Computed, Parts
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.forward import Forward, padded, pinned
from mvsa_pipe.posts.contents import Content

# Texts are sorted by length within windows of this size: enough for batches of similar lengths,
# while memory does not grow with the data set.
TEXTS_SORTED_TOGETHER = 8192
_TEXTS_TOKENIZED_TOGETHER = 512


class TextWork(BatchWork):
    """One text backbone; its batches contain texts of similar length.

    Args:
        forward: The backbone.
        batch_size: A batch holds as many tokens as this many texts of full length.
        clock: Measures the time.
    """

    def __init__(self, forward: Forward[TextBackbone], batch_size: int, clock: Clock) -> None:
        self.clock = clock
        self._forward = forward
        self._budget = batch_size * forward.backbone.max_tokens

    @property
    def forwards(self) -> Sequence[Forward[TextBackbone]]:
        """The backbone."""
        return (self._forward,)

    def parts(
        self, contents: Sequence[Content], lacking: Sequence[Set[str]], shares: int = 1
    ) -> Parts:
        """Cuts texts into batches, longest first within a window, and batches into parts."""
        (wanted,) = lacking
        items = [item for item in contents if item.id in wanted]
        most = batches.most_posts_a_part(len(items), shares)
        for start in range(0, len(items), TEXTS_SORTED_TOGETHER):
            yield from self._parts(items[start : start + TEXTS_SORTED_TOGETHER], most)

    def _parts(self, window: Sequence[Content], most: int) -> Parts:
        lengths = self._lengths(window)
        order = sorted(range(len(window)), key=lambda i: -lengths[i])  # stable: ties keep order
        part: list[Batch] = []
        posts = held = 0
        for batch in self._batches(order, lengths):
            size = sum(lengths[i] for i in batch) * self._forward.token_bytes
            if part and (held + size > PART_BYTES or posts + len(batch) > most):
                yield part
                part, posts, held = [], 0, 0
            part.append((tuple(window[i] for i in batch),))
            posts, held = posts + len(batch), held + size
        if part:
            yield part

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[Sequence[int]]:
        """Batches within the budget of tokens, padding included; the longest text comes first."""
        start = 0
        while start < len(order):
            stop = start + max(1, self._budget // lengths[order[start]])
            yield order[start:stop]
            start = stop

    def _lengths(self, items: Sequence[Content]) -> list[int]:
        """Number of tokens of every text; the rest of the tokenizer's output is dropped at once."""
        cuts = range(0, len(items), _TEXTS_TOKENIZED_TOGETHER)
        pieces = (items[start : start + _TEXTS_TOKENIZED_TOGETHER] for start in cuts)
        return [len(ids) for piece in pieces for ids in self._tokens(piece)]

    def _tokens(self, items: Sequence[Content]) -> list[NDArray[np.int32]]:
        backbone = self._forward.backbone
        return [backbone.cut(ids) for ids in backbone.tokenize([item.text for item in items])]

    def read(self, batch: Batch) -> tuple[list[Content], list[NDArray[np.int32]]]:
        """Token ids of every text."""
        (items,) = batch
        with self.clock.stage(Stage.DECODE):
            return list(items), self._tokens(items)

    def launch(
        self, ready: tuple[list[Content], list[NDArray[np.int32]]]
    ) -> tuple[list[Content], NDArray[np.int64], Encoded]:
        """Starts the backbone on padded texts."""
        items, rows = ready
        with self.clock.stage(Stage.MODEL):
            device, backbone = self._forward.device, self._forward.backbone
            inputs = [pinned(values, device) for values in padded(rows, backbone.pad_id)]
            lengths = np.array([len(row) for row in rows], np.int64)
            return items, lengths, self._forward.launch(self._forward.encode, *inputs)

    def collect(self, launched: tuple[list[Content], NDArray[np.int64], Encoded]) -> BatchResult:
        """Hidden states without padding, concatenated."""
        items, lengths, encoded = launched
        with self.clock.stage(Stage.TO_HOST):
            hidden, pooled = self._forward.collect(encoded)
            kept = np.minimum(lengths, hidden.shape[1])  # none where only pooled vectors are kept
            real = np.arange(hidden.shape[1]) < kept[:, None]
            return BatchResult(len(items), [Computed(items, hidden[real], pooled, kept)])
