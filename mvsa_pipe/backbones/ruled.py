"""Image backbones whose preprocessing is one published rule."""

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.backbones.preprocessing import ImagePreprocessing
from mvsa_pipe.images import DecodedImage


class RuledImageBackbone(ImageBackbone):
    """An image backbone that prepares pictures by a rule.

    Attributes:
        rule: Shortest edge, crop, interpolation, mean and deviation; and how pictures are decoded.
    """

    rule: ImagePreprocessing

    @property
    def decode(self) -> Decode:
        """How pictures must be decoded for ``prepare``."""
        return self.rule.decode

    def prepare(self, picture: DecodedImage) -> NDArray[np.uint8]:
        """The resized and cropped picture, ``[crop_px, crop_px, 3]``."""
        return self.rule.pixels(picture)
