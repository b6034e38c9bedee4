"""Features drawn at random in the sizes of MVSA-Single, for benchmarks of stage two."""

import torch

from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.features.resident import RaggedText, ResidentFeatures
from mvsa_pipe.training.data import TrainingData

CLASSES = ("negative", "neutral", "positive")


def draw(posts: int, *, text: int = 768, image: int = 768, places: int = 17) -> TrainingData:
    """Posts with tweets of 8 to 48 tokens; four in five train, the others select.

    Args:
        posts: How many.
        text: Width of the text backbone; 768 as of bert-base.
        image: Width of the image backbone; 768 as of dinov2-base.
        places: Image tokens; 17 as of a 4 × 4 grid and CLS.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 49, (posts,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).half()

    features = ResidentFeatures(
        post_ids=tuple(map(str, range(posts))),
        sizes=FeatureSizes(text, image, places, len(CLASSES)),
        text_hidden=RaggedText(noise(int(lengths.sum()), text), offsets, lengths),
        text_pooled=noise(posts, text),
        image_hidden=noise(posts, places, image),
        image_pooled=noise(posts, image),
    )
    train = posts * 4 // 5
    labels = torch.randint(0, len(CLASSES), (posts,), generator=generator)
    return TrainingData(features, labels, torch.arange(train), torch.arange(train, posts), CLASSES)
