"""What heads are trained on and selected by."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.devices import fits_on
from mvsa_pipe.errors import SplitError
from mvsa_pipe.resident import ResidentFeatures


@dataclass(frozen=True)
class Material:
    """What heads are trained on and selected by; the test part is not here.

    Attributes:
        features: Resident features of all posts.
        labels: Class of every post ``[N]``; -1 where unknown.
        train: Indices of the training posts.
        val: Indices of the validation posts.
        classes: Names of the classes.
        texts: Text of every post, for baselines that read terms; ``None`` where it is not known.
    """

    features: ResidentFeatures
    labels: Int[Tensor, " N"]
    train: Int[Tensor, " n"]
    val: Int[Tensor, " m"]
    classes: tuple[str, ...]
    texts: tuple[str, ...] | None = None

    def require_posts(self) -> None:
        """Refuses material without training or validation posts.

        Raises:
            SplitError: There is nothing to train on or to select by.
        """
        if not len(self.train) or not len(self.val):
            raise SplitError(
                "A head needs training posts, and validation posts to select its epoch by",
                found=f"{len(self.train)} train, {len(self.val)} val",
                hint="--split random-8:1:1, or a split with both parts",
            )

    def placed(self, device: torch.device) -> "Material":
        """The same material on a device, or where it is when the device has no room for it.

        Batches of features that stay behind are copied to the device one by one.
        """
        here = self.labels.device.type == device.type
        if here or not fits_on(device, self.features.bytes_held):
            return self
        tensors = (self.labels, self.train, self.val)
        labels, train, val = (tensor.to(device) for tensor in tensors)
        return replace(self, features=self.features.to(device), labels=labels, train=train, val=val)
