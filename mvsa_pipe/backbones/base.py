"""Base classes of backbones: frozen networks whose identity goes into cache fingerprints."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.modality import Modality


@dataclass(frozen=True)
class BackboneIdentity:
    """Everything that determines a feature's value, except the arithmetic.

    Attributes:
        name: The backbone's name; a local folder is named by its last part, not by its path.
        modality: The modality that it reads.
        weights: Digest of all parameters and buffers, independent of the file.
        preprocessing: The preprocessing, in readable fields.
        layers: Which hidden states are kept.
        pooling: How the pooled vector is made.
        witnesses: Files that the identity was computed from; it is valid while they are unchanged.
    """

    name: str
    modality: Modality
    weights: str
    preprocessing: dict[str, str | int | float]
    layers: str
    pooling: str
    witnesses: tuple[Path, ...] = field(default=(), compare=False)


class Encoded(NamedTuple):
    """Features of one batch: ``hidden [B, T or P, D]`` and ``pooled [B, D]``.

    With several layers ``hidden`` is ``[B, T or P, layers, D]``, the last layer last.
    """

    hidden: Float[Tensor, "B T *layers D"]
    pooled: Float[Tensor, "B D"]


class Backbone(ABC):
    """A frozen network: eval mode, no gradients, parameters and buffers never written.

    Attributes:
        modality: The modality that it reads.
        takes_weights: Whether it loads weights, instead of drawing them from a seed.
        module: The network.
        width: ``D``.
        layers: Number of layers whose hidden states ``encode`` returns.
        identity: The input of a cache's fingerprint.
    """

    modality: ClassVar[Modality]
    takes_weights: ClassVar[bool] = True
    module: nn.Module
    width: int
    layers: int = 1
    identity: BackboneIdentity

    def freeze(self) -> None:
        """Sets eval mode and turns gradients off."""
        self.module.eval().requires_grad_(requires_grad=False)

    def to(self, device: torch.device) -> None:
        """Moves the network to a device."""
        self.module.to(device)

    def describe_beside(self, folder: Path) -> None:  # noqa: B027  # most write nothing
        """Writes the files that ``--weights`` needs beside a file of this network's weights.

        These are the architecture and the preprocessing, unless the name determines them; the
        default writes nothing.
        """


class TextBackbone(Backbone):
    """Encodes texts: texts to token ids, and padded token ids to features.

    Attributes:
        max_tokens: Texts are cut at this many tokens.
        pad_id: Pads shorter texts of a batch; masked, so its value has no effect.
    """

    modality = Modality.TEXT
    max_tokens: int
    pad_id: int

    @abstractmethod
    def __init__(self, options: BackboneOptions) -> None:
        """Loads the network.

        Raises:
            BackboneError: Its weights cannot be loaded.
            ConfigError: An option does not fit it.
        """

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of every text, uncut, special tokens included."""

    @abstractmethod
    def cut(self, token_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The first ``max_tokens`` tokens, including the closing special token."""

    def spans(self, text: str) -> list[tuple[int, int]] | None:  # noqa: ARG002
        """Start and end in the text of each token that is kept; equal for special tokens.

        ``None`` if the backbone does not know.
        """
        return None

    @abstractmethod
    def encode(self, token_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Encoded:
        """Features of padded texts; hidden states of padding are meaningless."""


class ImageBackbone(Backbone):
    """Encodes pictures: pictures to pixels of one size, and pixels to features.

    Attributes:
        tokens: ``P``.
    """

    modality = Modality.IMAGE
    tokens: int

    @abstractmethod
    def __init__(self, options: BackboneOptions) -> None:
        """Loads the network.

        Raises:
            BackboneError: Its weights cannot be loaded.
            ConfigError: An option does not fit it.
        """

    @abstractmethod
    def prepare(self, picture: Image.Image) -> NDArray[np.generic]:
        """The pixels of one RGB picture, resized and cropped; thread-safe."""

    def prepare_array(self, picture: UInt8[np.ndarray, "H W 3"]) -> NDArray[np.generic]:
        """The same pixels of a picture that fast decoding returned; thread-safe."""
        return self.prepare(Image.fromarray(picture))

    @abstractmethod
    def encode(self, pixels: Tensor) -> Encoded:
        """Features of a batch of prepared pictures."""


def weights_digest(module: nn.Module) -> str:
    """Digest of a network's parameters and buffers: names, shapes and float32 values.

    It does not depend on the file's format or dtype: float16 weights loaded into a float32 network
    have one digest.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def cells(feature_map: Float[Tensor, "B D h w"]) -> Float[Tensor, "B P D"]:
    """A feature map as tokens: its ``P = h·w`` cells, row by row."""
    return feature_map.flatten(start_dim=2).transpose(1, 2)


def describe(options: BackboneOptions) -> str:
    """A backbone's name in caches and records, free of this machine's paths."""
    return options.name if options.folder is None else f"{options.family}:{options.folder.name}"
