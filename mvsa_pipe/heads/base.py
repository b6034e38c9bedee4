"""Base of fusion heads: modules that map one ``FeatureBatch`` to logits ``[B, C]``."""

import threading
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from safetensors.torch import save
from torch import Tensor, nn

from mvsa_pipe.devices import at_least_float32
from mvsa_pipe.features.batch import HIDDEN, POOLED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.attention_maps import AttentionLayer
from mvsa_pipe.heads.blocks import Dropout
from mvsa_pipe.heads.declared import (
    declared_needs,
    declared_options,
    keywords_of,
    takes_object,
)
from mvsa_pipe.heads.layer_mixing import mixed_layers, put_in_front
from mvsa_pipe.heads.model import CPU, Model
from mvsa_pipe.heads.options import HeadOptions

__all__ = ["FusionHead", "HeadOptions"]

# torch's layers draw their weights from the one global generator, whichever thread builds them.
GLOBAL_GENERATOR = threading.RLock()


class FusionHead(nn.Module, Model):
    """Base of all fusion heads; a subclass is one row in the table of heads.

    A subclass declares ``needs``, and how it is built: ``__init__(self, sizes, options)`` with a
    frozen dataclass ``Options``, or ``__init__(self, sizes, width=64)`` with an option a keyword.
    ``name``, ``summary`` and ``source`` are those of its row, for heads outside of this package.

    Attributes:
        batch_independent: Whether a post's logits do not depend on the other posts of its batch.
            False only for ``faithful`` variants, which repeat a published defect.
        centres: Whether pooled features are centred before training, in which all corrected
            heads differ from their sources; False for ``faithful`` variants.
        steady: Whether training does not amplify rounding errors. If False, AdamW, which divides
            gradients by their own size, amplifies them beyond 1e-5 in the logits
            (``benchmarks/independence.py``): such heads share no stack.
        loss_floor: The least cross-entropy that the head can reach with three classes.
        shares_stack: Whether several runs can train as one under ``torch.func.vmap``, which does
            not take every operation. False for heads outside of this package unless they say so.
    """

    file = "head.safetensors"
    centres: ClassVar[bool] = True
    steady: ClassVar[bool] = True
    loss_floor: ClassVar[float] = 0.0
    shares_stack: ClassVar[bool] = True
    _takes_object: ClassVar[bool] = True

    def __init_subclass__(cls, **more: Any) -> None:  # noqa: ANN401  # as Python's
        """Reads what the class declares.

        Raises:
            ConfigError: It cannot be used.
        """
        super().__init_subclass__(**more)
        own = vars(cls)
        if isinstance(own.get("needs"), Collection):
            cls.needs = declared_needs(cls, own["needs"])
        if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
            cls.shares_stack = bool(own.get("shares_stack", False))
        if "Options" in own or "__init__" in own:
            cls._takes_object = takes_object(cls)
            given = own.get("Options", cls.Options if cls._takes_object else None)
            cls.Options = declared_options(cls, given)

    def __init__(self, sizes: FeatureSizes, options: HeadOptions | None = None) -> None:
        super().__init__()
        self.sizes = sizes
        self.options = HeadOptions() if options is None else options
        for field in POOLED:
            self.register_buffer(_mean_of(field), torch.zeros(sizes.width_of(field.modality)))
        for field in HIDDEN:  # tokens are centred only if training asks for it
            self.register_buffer(_mean_of(field), None)

    @abstractmethod
    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits of every post; softmax turns them into probabilities."""

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """Its attention over tokens, for ``mvsa analyze attention``; none by default."""
        return ()

    @classmethod
    def construct(cls, sizes: FeatureSizes, options: HeadOptions) -> "FusionHead":
        """A head by the class's own constructor, which takes options as an object or as keywords.

        Layers of ``nn.Dropout`` become those that draw from the run's own generator.
        """
        head = cls(sizes, options) if cls._takes_object else cls(sizes, **keywords_of(options))
        head.options = options
        for part in list(head.modules()):
            for name, layer in part.named_children():
                if type(layer) is nn.Dropout:
                    setattr(part, name, Dropout(layer.p))
        put_in_front(head)
        return head

    @classmethod
    def build(
        cls, sizes: FeatureSizes, options: HeadOptions, seed: int, device: torch.device = CPU
    ) -> "FusionHead":
        """A head with weights and dropout that depend on the seed alone.

        Weights are drawn on the CPU and moved, so that they are the same bit for bit on any device.
        The global generators are left as they were.
        """
        with GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also reseed the global generators of all accelerators
            torch.default_generator.manual_seed(seed)
            head = cls.construct(sizes, options)
            head.to(device)
            # a draw behind those of the weights: dropout must not replay the stream that they used
            dropout_seed = int(torch.randint(2**62, ()))
        head.use_generator(torch.Generator(device).manual_seed(dropout_seed))
        return head

    @classmethod
    def average(cls, members: Sequence[Model]) -> "FusionHead":
        """An ensemble of trained heads, in eval mode."""
        from mvsa_pipe.heads.ensemble import Ensemble  # is a head itself

        return Ensemble([head for head in members if isinstance(head, FusionHead)]).eval()

    @classmethod
    def load(
        cls, config: Mapping[str, Any], data: bytes, where: object, device: torch.device
    ) -> "FusionHead":
        """A run's head or ensemble, in eval mode.

        Raises:
            ConfigError: An option is unknown or its value cannot be used.
            RunError: The checkpoint is damaged, does not fit, or is not finite.
        """
        from mvsa_pipe.heads.build import load_recorded  # builds heads

        return load_recorded(cls, config, data, where, device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:  # noqa: ANN401  # as torch's
        for field in HIDDEN & self.needs:
            if prefix + _mean_of(field) in state_dict:
                self._add_token_mean(field)
        super()._load_from_state_dict(state_dict, prefix, *more)

    def dump(self) -> bytes:
        """The weights in the format of safetensors."""
        tensors = {name: value.cpu().contiguous() for name, value in self.state_dict().items()}
        data: bytes = save(tensors)
        return data

    def predict_proba(
        self,
        batch: FeatureBatch,
        texts: Sequence[str] | None = None,  # noqa: ARG002  # heads read features alone
    ) -> Float[Tensor, "B C"]:
        """Probability of each class for every post, in float32 or better."""
        return at_least_float32(self(batch)).softmax(dim=1)

    @property
    def parameter_count(self) -> int:
        """Numbers that training moves."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def use_generator(self, generator: torch.Generator) -> None:
        """Sets the generator that every dropout layer draws its masks from."""
        for layer in self.dropouts().values():
            layer.generator = generator

    def dropouts(self) -> dict[str, Dropout]:
        """The dropout layers by name."""
        return {name: part for name, part in self.named_modules() if isinstance(part, Dropout)}

    def centre(self, batch: FeatureBatch) -> None:
        """Computes the means of the pooled features of the training posts.

        From then on ``read`` returns centred features. Vectors of one backbone share a large
        common part that carries no information, and that every later norm would preserve. The
        means are part of the saved weights: a post's logits depend on training and on itself alone.
        """
        for field in self.needs & POOLED:
            self.get_buffer(_mean_of(field)).zero_()
            self.get_buffer(_mean_of(field)).copy_(self.read(batch, field).mean(dim=0))

    def centre_tokens(self, batches: Iterable[FeatureBatch]) -> None:
        """Computes the mean of the hidden states over all tokens of the training posts.

        From then on ``read`` returns centred tokens, too. Layers are mixed first, by the weights
        that training starts from.

        Args:
            batches: The hidden states that the head declares, of all training posts.
        """
        fields = self.needs & HIDDEN
        sums = {field: self._add_token_mean(field).double() for field in fields}
        counts = dict.fromkeys(fields, 0)
        for batch in batches:
            mixed = mixed_layers(self, batch)
            for field in fields:
                tokens = _tokens(mixed, field)
                sums[field] += tokens.sum(dim=0, dtype=torch.float64)
                counts[field] += len(tokens)
        for field in fields:
            self.get_buffer(_mean_of(field)).copy_(sums[field] / max(counts[field], 1))

    def _add_token_mean(self, field: Field) -> Float[Tensor, " D"]:
        """The buffer of a mean of tokens, zero at first."""
        mean = next(self.parameters()).new_zeros(self.sizes.width_of(field.modality))
        self.register_buffer(_mean_of(field), mean)
        return mean

    def read(self, batch: FeatureBatch, field: Field | str) -> Float[Tensor, "B *tokens D"]:
        """A declared feature in the precision of the weights; caches use half precision.

        Raises:
            ValueError: The batch lacks it, or there is no such feature.
        """
        field = Field(field)
        value: Tensor | None = getattr(batch, field.value)
        if value is None:
            raise ValueError(f"{type(self).__name__} needs {field.value}, which the batch lacks")
        value = value.to(next(self.parameters()).dtype)
        mean = self._buffers[_mean_of(field)]
        return value if mean is None else value - mean

    def read_text_tokens(
        self, batch: FeatureBatch
    ) -> tuple[Float[Tensor, "B T Dt"], Bool[Tensor, "B T"]]:
        """Hidden states of the text, zero on padding, and their mask."""
        hidden, mask = self.read(batch, Field.TEXT_HIDDEN), batch.text_mask
        if mask is None:
            raise ValueError(f"{type(self).__name__} needs text_mask, which the batch lacks")
        # not hidden * mask: NaN times zero is NaN
        return torch.where(mask.unsqueeze(-1), hidden, 0.0), mask


def _mean_of(field: Field) -> str:
    return f"{field.value}_mean"


def _tokens(batch: FeatureBatch, field: Field) -> Float[Tensor, "X D"]:
    """All tokens of a batch without padding."""
    value: Tensor = getattr(batch, field.value)
    if field is Field.TEXT_HIDDEN and batch.text_mask is not None:
        return value[batch.text_mask]
    return value.flatten(0, 1)
