"""Pictures against a plain loop over torchvision's ``DataLoader`` and its SqueezeNet, in float32.

Both sides read the same JPEG files of one folder; this project from there as from a zip.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import material
import numpy as np
import torch
from PIL import Image
from rounds import Contest, Sides, Variant
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.in_memory import encode
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.posts.storage.base import FolderStorage

REQUIRES = ("torchvision",)
POSTS = 1024  # from 1,000 on, decoding is chosen by its self-test
# Of the largest value: cells reach 1,400, of which float32 resolves 1e-4.
TOLERANCE = 1e-5
# What such scripts choose; the fastest is measured.
BATCH, WORKERS = 32, (0, 2)


def measure(posts: int, rounds: int, sides: Sides, scratch: Path) -> dict[str, Any]:
    """Pooled features, and these with all cells, in memory."""
    unpack(posts, scratch)
    contests = {
        name: Contest(
            Variant(partial(features_of_ours, posts, scratch, cells)),
            {
                "DataLoader": [
                    Variant(
                        partial(features_of_peer, scratch / "pictures", workers, cells),
                        setting=f"{workers} workers",
                    )
                    for workers in WORKERS
                ]
            },
            _apart,
            TOLERANCE,
        )
        for name, cells in (("pooled", False), ("pooled and cells", True))
    }
    return {name: sides.compared(contest, rounds) for name, contest in contests.items()}


def unpack(posts: int, scratch: Path) -> None:
    """Writes the pictures of some posts to a folder, numbered in their order."""
    folder = scratch / "pictures"
    folder.mkdir()
    every = material.posts(posts, scratch)
    for number, post in enumerate(every.posts):
        (folder / f"{number:06}.jpg").write_bytes(every.storage.read(str(post.image)))


def features_of_ours(posts: int, scratch: Path, cells: bool) -> list[np.ndarray]:
    """Features in memory, from reading and hashing the files on."""
    every = material.posts(posts, scratch)
    renamed = tuple(replace(p, image=f"{number:06}.jpg") for number, p in enumerate(every.posts))
    unpacked = replace(every, posts=renamed, storage=FolderStorage(scratch / "pictures"))
    contents, faults = contents_of(unpacked, Modality.IMAGE)
    assert not faults
    forward = _forward(Keep.ALL if cells else Keep.POOLED)
    needs = [Field.IMAGE_POOLED, *([Field.IMAGE_HIDDEN] if cells else [])]
    features = encode({Modality.IMAGE: contents}, {Modality.IMAGE: [forward]}, needs, 1).features
    assert isinstance(features, ResidentFeatures)
    made = (features.image_pooled, features.image_hidden)
    return [values.numpy() for values in made if values is not None]


class Pictures(Dataset[Tensor]):
    """The pictures of a folder, prepared as torchvision's weights say."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.jpg"))
        self._transform = models.SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Tensor:
        with Image.open(self._paths[number]) as picture:
            return self._transform(picture.convert("RGB"))


def features_of_peer(folder: Path, workers: int, cells: bool) -> list[np.ndarray]:
    """The same by a plain loop."""
    loader = DataLoader(Pictures(folder), BATCH, num_workers=workers)
    pooled, states = [], []
    for maps in _maps(loader):
        pooled.append(maps.mean(dim=(2, 3)))
        if cells:
            states.append(maps.flatten(2).transpose(1, 2))
    return [torch.cat(blocks).numpy() for blocks in (pooled, states) if blocks]


def _maps(loader: DataLoader[Tensor]) -> Iterator[Tensor]:
    model = _model()
    with torch.inference_mode():
        for pixels in loader:
            yield model(pixels)


def _apart(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    if [values.shape for values in one] != [values.shape for values in other]:
        return float("inf")
    pairs = zip(one, other, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


@cache
def _forward(keep: Keep) -> Forward[Any]:
    backbone = load_backbone(material.backbones()[1])
    return Forward(backbone, torch.device("cpu"), Precision.FLOAT32, StoredDtype.FLOAT32, keep)


@cache
def _model() -> nn.Module:
    """The feature map of torchvision's classifier with the shared weights."""
    model = models.squeezenet1_0()
    model.load_state_dict(load_file(str(material.backbones()[1].weights)))
    return model.eval().features
