"""Image backbones whose preprocessing is one published rule."""

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.backbones.preprocessing import ImagePreprocessing
from mvsa_pipe.images import Decoded


class RuledImageBackbone(ImageBackbone):
    """An image backbone that prepares pictures by a rule, here or on the device.

    Attributes:
        rule: Shortest edge, crop, interpolation, mean and deviation; and how pictures are decoded.
    """

    rule: ImagePreprocessing

    @property
    def decode(self) -> Decode:
        """How pictures must be decoded for ``prepare``."""
        return self.rule.decode

    def prepare(self, picture: Decoded) -> NDArray[np.uint8]:
        """The resized and cropped picture, ``[crop_px, crop_px, 3]``."""
        return self.rule.pixels(picture)

    def prepare_tensor(self, picture: UInt8[Tensor, "3 H W"]) -> UInt8[Tensor, "h w 3"]:
        """A decoded picture, resized and cropped on its device, ``[crop_px, crop_px, 3]``."""
        return self.rule.tensor_pixels(picture)
