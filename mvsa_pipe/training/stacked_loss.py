"""The losses of several runs by one forward pass over stacked parameters.

Axes beyond the common legend: ``W`` all parameters of a head, end to end.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from mvsa_pipe.devices import Precision, arithmetic, at_least_float32
from mvsa_pipe.devices.compiling import COMPILABLE, compiled
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.base import FusionHead

# Has the signature of ``StackedLoss.__call__``.
LossOfRuns = Callable[..., Tensor]


class StackedLoss:
    """The loss of each run's batch under its own parameters.

    Args:
        template: A head of the runs' shape, in training mode; its parameters are not read.
        precision: Arithmetic of the matrix products.
        device: The parameters' device.
    """

    def __init__(self, template: FusionHead, precision: Precision, device: torch.device) -> None:
        self._template, self._precision, self._device = template, precision, device
        self._layers = list(template.dropouts().values())
        self._shapes = {name: value.shape for name, value in template.named_parameters()}

    def compiled(self) -> "LossOfRuns":
        """This loss compiled by ``torch.compile``; on a GPU with CUDA graphs.

        If it cannot be compiled, its first call raises ``MvsaError``.
        """
        mode = "reduce-overhead" if self._device.type == "cuda" else None
        return compiled(self.__call__, self._fault, mode)

    def _fault(self, found: str) -> MvsaError:
        return MvsaError(
            "The training step of this head cannot be compiled here",
            where=type(self._template).__name__,
            expected=COMPILABLE,
            found=found,
            hint="leave out --compile",
        )

    def __call__(
        self,
        weights: Float[Tensor, "S W"],
        buffers: dict[str, Tensor],
        features: dict[str, Tensor],
        masks: list[Tensor],
        labels: Int[Tensor, "S B"],
        counted: Float[Tensor, "S B"],
        targets: Float[Tensor, "S B C"] | None = None,
    ) -> Float[Tensor, " S"]:
        """Mean cross-entropy of every run over its posts.

        Args:
            weights: The parameters of every run.
            buffers: Their buffers by name, each ``[S, ...]``.
            features: The features that the head reads by name, each ``[S, B, ...]``.
            masks: The dropout masks in the order in which the head applies them, each
                ``[S, B, ...]``.
            labels: The posts' classes.
            counted: Weight of each post; the loss of a run without posts is 0.
            targets: Weight of each post's log-probability of each class, the result of
                ``smoothed``; ``None`` if no run smooths labels.
        """
        with arithmetic(self._precision, self._device):
            logits = vmap(self._forward)(self._named(weights), buffers, features, masks)
        every = at_least_float32(logits).flatten(0, 1)
        whole = counted.sum(dim=1)
        if targets is None:
            each = F.cross_entropy(every, labels.flatten(), reduction="none")
            total = (each.view_as(counted) * counted).sum(dim=1)
        else:
            total = -(every.log_softmax(dim=1).view_as(targets) * targets).sum(dim=(1, 2))
        return total / torch.where(whole > 0, whole, 1.0)

    def _forward(
        self,
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
        features: dict[str, Tensor],
        masks: list[Tensor],
    ) -> Tensor:
        """Logits of one run."""
        handed = iter(masks)
        for layer in self._layers:
            layer.given = lambda _: next(handed)
        try:
            state = {**weights, **buffers}
            batch = FeatureBatch(**features)
            logits: Tensor = functional_call(self._template, state, (batch,))
        finally:
            for layer in self._layers:
                layer.given = None
        return logits

    def _named(self, weights: Float[Tensor, "S W"]) -> dict[str, Tensor]:
        """The parameters by name, each ``[S, *shape]``, as views of ``weights``."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        pieces = torch.split(weights, sizes, dim=1)
        return {
            name: unflatten(piece, shape)
            for piece, (name, shape) in zip(pieces, self._shapes.items(), strict=True)
        }


def smoothed(
    labels: Int[Tensor, "S B"],
    real: Bool[Tensor, "S B"],
    class_weights: Float[Tensor, "S C"],
    smoothing: Float[Tensor, " S"],
) -> Float[Tensor, "S B C"]:
    """Weight of each post's log-probability of each class, by ``Trainer.step``'s formula.

    Args:
        labels: The posts' classes.
        real: Which posts are not padding.
        class_weights: Class weights of every run.
        smoothing: Share of each label that every run spreads over all classes.
    """
    weights, share = class_weights[:, None], smoothing[:, None, None]
    classes = torch.arange(class_weights.shape[1], device=labels.device)
    own = (1 - share) * (labels[..., None] == classes)
    return (own + share / len(classes)) * weights * real[..., None]


def unflatten(pieces: Float[Tensor, "S w"], shape: torch.Size) -> Float[Tensor, "S ..."]:
    """One parameter of every run, as a view of its slice of the vectors.

    Matrices are stored transposed: the gradient of a stacked linear map has that layout, and
    transposing it in memory took longer than computing it.
    """
    if len(shape) == 2:
        return pieces.view(-1, shape[1], shape[0]).transpose(1, 2)
    return pieces.view(-1, *shape)


def flatten(parameter: Tensor) -> Float[Tensor, " w"]:
    """A parameter as a vector in the layout that ``unflatten`` reads."""
    return (parameter.t() if parameter.dim() == 2 else parameter).detach().flatten()
