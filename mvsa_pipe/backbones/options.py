"""Options of a backbone; torch-free, so that help screens stay fast."""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from mvsa_pipe.backbones import (
    TEXT_BACKBONES,
    backbone_name,
    backbone_source,
    parse_backbone,
    traits,
)
from mvsa_pipe.backbones.family import Pooling as Pooling  # part of the options
from mvsa_pipe.errors import ConfigError, name_some
from mvsa_pipe.layers import Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import Options, option
from mvsa_pipe.user_code import Origin

# Suffix of the names of backbones with fine-tuned weights.
TUNED_MARK = "~tuned"


class Decode(StrEnum):
    """How pictures become pixels, which are the same in each way (see ``backbones.decoding``).

    ``exact`` decodes and resizes by Pillow. ``fast`` decodes JPEG by simplejpeg and resizes only
    what the crop keeps, by the same arithmetic. ``auto`` is fast for many pictures, if a self-test
    gives the same pixels on this machine, and else exact.
    """

    AUTO = "auto"
    EXACT = "exact"
    FAST = "fast"


# A fingerprint's decoder field: every ``Decode`` gives the pixels of Pillow.
DECODER = "pillow"


# Least: two special tokens and a word. Most: a table of positions has this length.
FEWEST_TOKENS, MOST_TOKENS = 3, 65_536


@dataclass(frozen=True)
class BackboneOptions(Options):
    """Options of a backbone, its weights and preprocessing.

    Attributes:
        name: ``family`` or ``family:argument``.
        weights: A safetensors or ``.pth`` file, a Hugging Face folder, or the name of one of
            torchvision's weights; ``None`` takes the backbone's published ones.
        pooling: For text, and pictures of two-tower models; ``None`` takes the backbone's own
            (``cls`` for bert, ``projected`` for two towers, else ``mean``).
        max_tokens: Texts are cut at this many tokens, special ones included.
        layers: The layers whose hidden states are kept.
        prompt: What is put before every text; ``None`` takes the model's own, which
            sentence-transformers models may have. An empty one leaves that out.
        tuned: A safetensors file of all weights after fine-tuning, loaded over the others.
        source: Where the class of an own backbone comes from; found by its name.

    Raises:
        ConfigError: A field cannot be used.
    """

    name: str
    weights: str | None = None
    pooling: Pooling | None = None
    max_tokens: int = option(128, least=FEWEST_TOKENS, most=MOST_TOKENS)
    layers: Layers = Layers.LAST
    prompt: str | None = None
    tuned: str | None = None
    source: Origin | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "name", backbone_name(self.name))
        parse_backbone(self.name)
        object.__setattr__(self, "source", backbone_source(self.family))
        known = traits(self.family)
        if self.layers is not Layers.LAST and not known.layered:
            raise without_layers(self)
        if self.pooling is not None and known.poolings and self.pooling not in known.poolings:
            raise ConfigError(
                f"Backbone {self.name!r} has no pooling {self.pooling.value!r}",
                expected=f"--pooling {name_some(known.poolings, most=9)}",
                hint="extract backbones with different poolings separately",
            )
        if self.prompt is not None:
            self._require_prompted(self.prompt)

    def _require_prompted(self, prompt: str) -> None:
        if not traits(self.family).prompted:
            raise ConfigError(
                f"Backbone {self.name!r} takes no prompt",
                expected="--prompt with backbones of "
                + " or ".join(row.name for row in TEXT_BACKBONES if traits(row.name).prompted),
                found=f"--prompt {prompt!r}",
                hint="extract it separately, without --prompt; hf-text:FOLDER reads any text "
                "encoder with one"
                if self.modality is Modality.TEXT
                else "leave --prompt out, which stands before texts",
            )
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                "--prompt is not valid text", expected="UTF-8", found=repr(prompt)
            ) from error

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes over the fields in another process, in which an own class is not loaded yet."""
        self.__dict__.update(state)
        if self.source is not None:
            from mvsa_pipe.backbones.own import add_same_backbone  # imports torch

            add_same_backbone(self.source)

    @property
    def modality(self) -> Modality:
        """The modality that the backbone reads."""
        return parse_backbone(self.name)[0]

    @property
    def family(self) -> str:
        """The row in the table of backbones."""
        return parse_backbone(self.name)[1]

    @property
    def argument(self) -> str:
        """The part of the name after the colon; may be empty."""
        return parse_backbone(self.name)[2]

    @property
    def folder(self) -> Path | None:
        """The folder that the argument names, if its family takes one and it exists."""
        takes = self.argument and traits(self.family).from_folder
        return Path(self.argument).resolve() if takes and Path(self.argument).is_dir() else None

    def tokens_within(self, limit: int | None, *, by_default: bool) -> int:
        """``max_tokens``, at most a model's own limit.

        Args:
            limit: The model's number of positions; ``None`` if it has no limit.
            by_default: Whether the default of ``max_tokens`` is lowered to the limit.

        Raises:
            ConfigError: A larger number was chosen.
        """
        if limit is None or self.max_tokens <= limit:
            return self.max_tokens
        if by_default and self.max_tokens == BackboneOptions.max_tokens:
            return limit
        raise ConfigError(
            f"--max-tokens is larger than the number of positions of backbone {self.name!r}",
            expected=f"at most {limit}",
            found=self.max_tokens,
        )

    def located(self) -> "BackboneOptions":
        """The same options with absolute paths, which are valid in any working directory."""
        name, weights = self.name, self.weights
        if self.folder is not None:
            name = f"{self.family}:{self.folder}"
        if weights is not None and Path(weights).exists():
            weights = str(Path(weights).resolve())
        tuned = None if self.tuned is None else str(Path(self.tuned).resolve())
        return replace(self, name=name, weights=weights, tuned=tuned)

    def as_record(self) -> dict[str, object]:
        """Plain values for keys and records; later options only if they are not the default.

        Caches of the last layer and without a prompt thus keep the keys of versions without these.
        """
        record = asdict(self)
        if self.layers is Layers.LAST:
            del record["layers"]
        if self.prompt is None:
            del record["prompt"]
        if self.source is None:
            del record["source"]
        else:
            record["source"] = self.source.as_record()
        return record


def without_layers(options: BackboneOptions) -> ConfigError:
    """The error about a backbone that has no layers of one shape."""
    return ConfigError(
        f"Layers of backbone {options.name!r} differ in shape, so only the last can be stored",
        expected="--layers last; text encoders and vision transformers such as dinov2 have more",
        found=f"--layers {options.layers}",
        hint="extract it separately with --layers last: heads can combine it with others",
    )
