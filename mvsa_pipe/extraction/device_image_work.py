"""Image backbones at work where the device that computes decodes and resizes JPEGs as well."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvsa_pipe.backbones.ruled import RuledImageBackbone
from mvsa_pipe.errors import BackboneError
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.device_decoding import decode_jpegs
from mvsa_pipe.extraction.forward import Forward, pinned
from mvsa_pipe.extraction.image_work import ImageWork, Picture, Ready, pictures_of, require_wide
from mvsa_pipe.extraction.work import Batch
from mvsa_pipe.images import decode_image, plain_jpeg_size


class DeviceImageWork(ImageWork):
    """Image backbones, fed with plain JPEGs that are decoded and resized on their device.

    Readers look at headers alone; pixels of plain JPEGs never come to this process's memory.
    Whatever else there is, and each JPEG that the device's decoder refuses, goes the way of exact
    decoding, which also says what is wrong with it. A picture's pixels depend on itself alone: one
    that is refused has its batch decoded again one by one.

    Times of the stages are those of the thread that launches; what a GPU has not done by then is
    waited for, and counted, in the next stage that needs it.

    Args:
        forwards: The backbones, on one device.
        batch_size: Pictures a batch.
        clock: Where the time goes.
    """

    def __init__(
        self, forwards: Sequence[Forward[RuledImageBackbone]], batch_size: int, clock: Clock
    ) -> None:
        super().__init__(forwards, batch_size, clock)
        self._device = forwards[0].device
        self._backbones = [forward.backbone for forward in forwards]

    def read(self, batch: Batch) -> Ready:
        """Reads every picture, and prepares those that are not for the device."""
        ready = Ready(pictures_of(batch))
        for picture in ready.pictures:
            picture.attempt(self._fetch)
        return ready

    def _fetch(self, picture: Picture) -> None:
        with self.clock.stage(Stage.DECODE):
            data, where = picture.item.read_image()
            size = plain_jpeg_size(data, where)
            image = decode_image(data, where) if size is None else None
        if image is not None:
            self.prepare(picture, image)
        elif size is not None:
            require_wide(size)
            picture.waiting = data, where

    def inputs(self, ready: Ready) -> list[Tensor | None]:
        """Decodes what waits for the device; the pixels that each backbone is launched on.

        Raises:
            BackboneError: A single picture does not fit into the device's memory.
        """
        self._decode(ready.waiting)
        with self.clock.stage(Stage.TRANSFORM):
            inputs = [
                self._stacked([picture.made[rule] for picture in ready.fed_to(number)])
                for number, rule in enumerate(self.rules)
            ]
        for picture in ready.pictures:
            picture.made.clear()
            picture.waiting = None
        return inputs

    def _decode(self, pictures: Sequence[Picture]) -> None:
        """Makes the pixels of JPEGs on the device, one by one where it will not take all."""
        if not pictures or self._fit_and_decode(pictures):
            return
        if len(pictures) == 1:
            pictures[0].attempt(self.decode_here)
            return
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        for picture in pictures:
            self._decode([picture])

    def _fit_and_decode(self, pictures: Sequence[Picture]) -> bool:
        """Whether the device took all of them; memory for one at a time there must be."""
        try:
            return self._decode_together(pictures)
        except torch.OutOfMemoryError as error:
            if len(pictures) == 1:
                raise BackboneError(
                    "A single picture needs more memory than the device has free to decode it",
                    where=pictures[0].item.image,
                    found=str(error).splitlines()[0],
                    hint="free memory on it, or use --decode exact",
                ) from error
            return False

    def _decode_together(self, pictures: Sequence[Picture]) -> bool:
        with self.clock.stage(Stage.DECODE):
            decoded = decode_jpegs([p.waiting[0] for p in pictures if p.waiting], self._device)
        if decoded is None:
            return False
        with self.clock.stage(Stage.TRANSFORM):
            for picture in pictures:
                whole = decoded.pop(0)  # and freed as soon as it is resized
                for number in picture.takers:
                    rule = self.rules[number]
                    if rule not in picture.made:
                        picture.made[rule] = self._backbones[number].prepare_tensor(whole)
        return True

    def _stacked(self, rows: list[NDArray[np.generic] | Tensor]) -> Tensor | None:
        """Pixels of one backbone ``[B, h, w, 3]`` on the device, in their order."""
        here = [row for row in rows if isinstance(row, np.ndarray)]
        moved = iter(
            pinned(np.stack(here), self._device).to(self._device, non_blocking=True) if here else ()
        )
        there = [row if isinstance(row, Tensor) else next(moved) for row in rows]
        return torch.stack(there) if there else None
