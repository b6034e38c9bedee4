"""What every row of the table of heads builds: a fusion head, or a baseline of scikit-learn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.options import HeadOptions

CPU = torch.device("cpu")


class Model(ABC):
    """Maps features of posts to probabilities, and can be saved in one file.

    Attributes:
        needs: The features that it reads; all others may be absent or NaN. Of a class: those under
            its default options; of an object: those under its own.
        Options: The frozen dataclass of its hyper-parameters.
        batch_independent: Whether probabilities are independent of the batch.
        seeded: Whether the seed changes the probabilities; averaging a model with False over
            seeds would average copies.
        file: Name of its file in a run folder.
        sizes: What it was built for.
        options: How it was built.
    """

    needs: frozenset[Field]
    Options: ClassVar[type[HeadOptions]] = HeadOptions
    batch_independent: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    file: ClassVar[str]
    sizes: FeatureSizes
    options: HeadOptions

    @classmethod
    @abstractmethod
    def build(
        cls, sizes: FeatureSizes, options: HeadOptions, seed: int, device: torch.device = CPU
    ) -> "Model":
        """A model before its training, whose draws depend on the seed alone."""

    @classmethod
    @abstractmethod
    def average(cls, members: "Sequence[Model]") -> "Model":
        """One model whose probabilities are the mean of those of several."""

    @classmethod
    @abstractmethod
    def load(
        cls, config: Mapping[str, Any], data: bytes, where: object, device: torch.device
    ) -> "Model":
        """The trained model of a run.

        Args:
            config: The run's configuration: ``head``, ``head_options``, ``sizes``, ``training``
                and, of an ensemble, ``seeds``.
            data: What ``dump`` returned.
            where: The run, for messages.
            device: Where it computes.

        Raises:
            RunError: The data is damaged, or belongs to another model.
        """

    @abstractmethod
    def dump(self) -> bytes:
        """The content of the trained model's file."""

    @abstractmethod
    def predict_proba(
        self, batch: FeatureBatch, texts: Sequence[str] | None = None
    ) -> Float[Tensor, "B C"]:
        """Probability of each class for every post.

        Args:
            batch: Features of the posts, on the model's device.
            texts: Their texts, for a model that reads them.
        """

    @property
    def reads_texts(self) -> bool:
        """Whether it reads texts in addition to features."""
        return False

    @property
    @abstractmethod
    def parameter_count(self) -> int:
        """How many numbers were learned."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it computes."""
