"""Pictures of the training posts, a little different in every epoch."""

import math

import numpy as np
from PIL import Image

# As torchvision's RandomResizedCrop, but for a smaller least area: what a post means can stand at
# the picture's edge.
_LEAST_AREA, _ASPECT = 0.5, 4 / 3


def augmented(image: Image.Image, draws: np.random.Generator) -> Image.Image:
    """A random part of a picture, half of its area or more, mirrored half of the time."""
    width, height = image.size
    area = width * height * draws.uniform(_LEAST_AREA, 1.0)
    aspect = math.exp(draws.uniform(-math.log(_ASPECT), math.log(_ASPECT))) * width / height
    part = (
        min(width, max(1, round(math.sqrt(area * aspect)))),
        min(height, max(1, round(math.sqrt(area / aspect)))),
    )
    left = int(draws.integers(0, width - part[0] + 1))
    top = int(draws.integers(0, height - part[1] + 1))
    image = image.crop((left, top, left + part[0], top + part[1]))
    mirrored = draws.random() < 0.5
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
