"""Work of image backbones: every picture is decoded once for all of them."""

import threading
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.base import Encoded, ImageBackbone
from mvsa_pipe.backbones.decoding import Decoding
from mvsa_pipe.cache.content import PART_BYTES, Refusal
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction import batches
from mvsa_pipe.extraction.batches import Batch, BatchResult, BatchWork, Computed, Parts
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.forward import Forward, pinned
from mvsa_pipe.posts.contents import Content

# Bytes of pictures that a reader reads before it decodes them, so that it reads a slow disk while
# the model computes.
_BYTES_AHEAD = 4 << 20


@dataclass
class PictureInput:
    """One picture of a batch.

    Attributes:
        item: The post.
        takers: Numbers of the backbones that take it.
        waiting: Its bytes and their name for messages, until it is decoded.
        made: Its pixels, by preprocessing.
        fault: Why it cannot be read; ``None`` if it can.
    """

    item: Content
    takers: list[int] = field(default_factory=list)
    waiting: tuple[bytes, str] | None = None
    made: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    fault: str | None = None

    def attempt(self, step: Callable[["PictureInput"], None]) -> None:
        """Calls ``step`` with the picture and records why it fails."""
        try:
            step(self)
        except DataError as error:
            self.fault = error.what


@dataclass
class Ready:
    """A batch of pictures, preprocessed for each backbone.

    Attributes:
        pictures: All of them, in their order.
        stacked: The input of each backbone.
    """

    pictures: list[PictureInput]
    stacked: list[NDArray[np.generic] | None] = field(default_factory=list)

    def fed_to(self, number: int) -> list[PictureInput]:
        """The readable pictures that one backbone takes."""
        return [p for p in self.pictures if number in p.takers and p.fault is None]

    @property
    def waiting(self) -> list[PictureInput]:
        """The pictures that are read and not yet decoded."""
        return [p for p in self.pictures if p.waiting is not None]

    @property
    def refused(self) -> list[tuple[Refusal, tuple[int, ...]]]:
        """Pictures that cannot be read, with the backbones that requested them."""
        return [
            (Refusal(p.item.id, p.item.digest, p.fault), tuple(p.takers))
            for p in self.pictures
            if p.fault is not None
        ]


class DecodeGate:
    """Lets readers decode while the model waits, and pauses them while it computes.

    In parallel they slow each other down: a step of the model ends with its slowest thread, which
    shares its core with a reader. SqueezeNet, time relative to a bare forward loop: 1.40 in
    parallel, 1.25 alternating; bfloat16 1.70 and 1.45.

    Args:
        shared: Whether readers and model use the same cores; a model on a GPU uses none.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._readers = threading.Event()
        self._readers.set()

    @contextmanager
    def model(self) -> Iterator[None]:
        """Pauses readers; each finishes the picture that it decodes."""
        try:
            if self._shared:
                self._readers.clear()
            yield
        finally:
            self._readers.set()

    def await_readers(self) -> None:
        """Waits until readers may decode."""
        self._readers.wait()


class ImageWork(BatchWork):
    """Image backbones that share decoded pictures.

    Args:
        forwards: The backbones.
        batch_size: Pictures a batch.
        clock: Measures the time.
        decoding: How pictures are decoded.
    """

    def __init__(
        self,
        forwards: Sequence[Forward[ImageBackbone]],
        batch_size: int,
        clock: Clock,
        decoding: Decoding[Any],
    ) -> None:
        self.clock = clock
        self._decoding = decoding
        self._forwards = forwards
        # Backbones with equal preprocessing share its output.
        self._rules = [str(sorted(f.backbone.identity.preprocessing.items())) for f in forwards]
        self._batch_size = batch_size
        self._gate = DecodeGate(shared=forwards[0].device.type == "cpu")

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
        most = min(fitting, batches.most_posts_a_part(len(order), shares))
        posts_a_part = max(size, most - most % size)
        for start in range(0, len(order), posts_a_part):
            part = order[start : start + posts_a_part]
            yield [
                tuple(tuple(i for i in part[at : at + size] if i.id in ids) for ids in lacking)
                for at in range(0, len(part), size)
            ]

    def read(self, batch: Batch) -> Ready:
        """Decodes every picture once and prepares it for each backbone that takes it."""
        ready = Ready(pictures_of(batch))
        ahead = 0
        for picture in ready.pictures:
            picture.attempt(self._fetch)
            ahead += len(picture.waiting[0]) if picture.waiting else 0
            if ahead >= _BYTES_AHEAD:
                self._decode_in_turn(ready.waiting)
                ahead = 0
        self._decode_in_turn(ready.waiting)
        with self.clock.stage(Stage.TRANSFORM):
            for number, rule in enumerate(self._rules):
                pixels = [picture.made[rule] for picture in ready.fed_to(number)]
                ready.stacked.append(np.stack(pixels) if pixels else None)
        for picture in ready.pictures:
            picture.made.clear()
        return ready

    def _fetch(self, picture: PictureInput) -> None:
        with self.clock.stage(Stage.DECODE):
            picture.waiting = picture.item.read_image()

    def _decode_in_turn(self, pictures: Sequence[PictureInput]) -> None:
        for picture in pictures:
            self._gate.await_readers()
            picture.attempt(self._decode)

    def _decode(self, picture: PictureInput) -> None:
        """Decodes a picture and preprocesses it for each backbone that takes it."""
        if picture.waiting is None:
            return
        (data, where), picture.waiting = picture.waiting, None
        with self.clock.stage(Stage.DECODE):
            image = self._decoding.open(data, where)
        with self.clock.stage(Stage.TRANSFORM):
            for number in picture.takers:
                rule, backbone = self._rules[number], self._forwards[number].backbone
                if rule not in picture.made:
                    picture.made[rule] = self._decoding.prepare(backbone, image)

    def launch(self, ready: Ready) -> tuple[Ready, list[Encoded | None]]:
        """Starts every backbone on its pictures."""
        with self.clock.stage(Stage.MODEL):
            inputs = [
                None if pixels is None else pinned(pixels, forward.device)
                for forward, pixels in zip(self._forwards, ready.stacked, strict=True)
            ]
        ready.stacked = []
        with self._gate.model(), self.clock.stage(Stage.MODEL):
            encoded = [
                None if pixels is None else forward.launch(forward.encode, pixels)
                for forward, pixels in zip(self._forwards, inputs, strict=True)
            ]
        return ready, encoded

    def collect(self, launched: tuple[Ready, list[Encoded | None]]) -> BatchResult:
        """Hidden states and pooled vectors of every backbone."""
        ready, encoded = launched
        with self.clock.stage(Stage.TO_HOST):
            computed = [
                None
                if values is None
                else Computed(
                    [picture.item for picture in ready.fed_to(number)],
                    *forward.collect(values),
                    None,
                )
                for number, (forward, values) in enumerate(
                    zip(self._forwards, encoded, strict=True)
                )
            ]
        return BatchResult(len(ready.pictures), computed, ready.refused)


def pictures_of(batch: Batch) -> list[PictureInput]:
    """The pictures of a batch, each once, with all backbones that take it."""
    pictures: dict[str, PictureInput] = {}
    for number, items in enumerate(batch):
        for item in items:
            pictures.setdefault(item.id, PictureInput(item)).takers.append(number)
    return list(pictures.values())
