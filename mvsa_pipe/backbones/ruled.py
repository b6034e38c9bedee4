"""Image backbones with one published preprocessing."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.preprocessing import ImagePreprocessing


class RuledImageBackbone(ImageBackbone):
    """An image backbone with an ``ImagePreprocessing``.

    Attributes:
        rule: Shortest edge, crop, interpolation, mean and deviation.
    """

    rule: ImagePreprocessing

    def prepare(self, picture: Image.Image) -> UInt8[np.ndarray, "crop crop 3"]:
        """The resized and cropped picture."""
        return self.rule.pixels(picture)

    def prepare_array(
        self, picture: UInt8[np.ndarray, "H W 3"]
    ) -> UInt8[np.ndarray, "crop crop 3"]:
        """The same, resizing only what the crop keeps."""
        return self.rule.pixels_of_array(picture)
