"""Chooses the backbones of an extraction and their weights; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvsa_pipe.backbones import backbone_name, parse_backbone, takes_pooling, traits
from mvsa_pipe.backbones.options import (
    FEWEST_TOKENS,
    MOST_TOKENS,
    BackboneOptions,
    Pooling,
)
from mvsa_pipe.backbones.presets import preset_named
from mvsa_pipe.errors import CacheError, ConfigError
from mvsa_pipe.layers import Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import Options, option

if TYPE_CHECKING:
    from mvsa_pipe.cache.reading import FeatureFile
    from mvsa_pipe.posts import PostSet

# The backbone that is added when only the other modality was named and this one is not cached.
PARTNERS: Mapping[Modality, str] = {Modality.TEXT: "bert", Modality.IMAGE: "dinov2"}


def current_caches(
    posts: "PostSet", modality: Modality, cache: Path, wanted: str | None = None
) -> list["FeatureFile"]:
    """Caches with current features of any of the posts; those with all of them first.

    Args:
        posts: The posts.
        modality: Text or image.
        cache: The folder of all caches.
        wanted: A backbone, see ``CacheFolder.fitting``.
    """
    from mvsa_pipe.cache.folder import CacheFolder  # help screens need no h5py
    from mvsa_pipe.cache.matching import CacheContent
    from mvsa_pipe.posts.contents import content_digests

    try:
        fitting = CacheFolder(cache).fitting(posts.name, modality, wanted)
    except CacheError:
        return []
    digests = content_digests(posts, modality, cache).digests
    sharing = [file for file in fitting if CacheContent.in_file(file).shared(digests)]
    return sorted(sharing, key=lambda file: not CacheContent.in_file(file).covers(digests))


@dataclass(frozen=True)
class ExtractChoice(Options):
    """The backbones of an extraction, their weights and preprocessing.

    Attributes:
        backbones: A backbone, see mvsa backbones, or FILE.py:CLASS; repeatable.
        weights: Local weights, as NAME=PATH or PATH. A safetensors or .pth file, a Hugging Face
            folder, or the name of torchvision weights; a bare PATH is accepted when exactly one of
            the backbones can use it; repeatable.
        partner: Backbone of the other modality: NAME, auto or none. It is added when that modality
            is neither named nor cached; auto takes bert or dinov2.
        pooling: How hidden states become one vector, for texts and pictures of two-tower models. By
            default the backbone's own.
        max_tokens: Most tokens per text. Longer texts are cut; special tokens count.
        layers: Layers whose states are kept.
        prompt: What is put before every text, such as "query: " for e5. By default the prompt of a
            sentence-transformers model, and none of others.
        preset: A named choice of backbones, see mvsa backbones, beside those named.
    """

    backbones: tuple[str, ...] = option((), "--backbone")
    weights: tuple[str, ...] = ()
    partner: str = "auto"
    pooling: Pooling | None = option(None, rare=True)
    max_tokens: int = option(BackboneOptions.max_tokens, least=FEWEST_TOKENS, most=MOST_TOKENS)
    layers: Layers = BackboneOptions.layers
    prompt: str | None = option(None, rare=True)
    preset: str = option("", rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        # own classes are loaded once, and known by name from then on
        of_preset = preset_named(self.preset).backbones if self.preset else ()
        named = dict.fromkeys([*of_preset, *map(backbone_name, self.backbones)])
        object.__setattr__(self, "backbones", tuple(named))
        object.__setattr__(self, "partner", backbone_name(self.partner))
        for name in self.backbones:
            parse_backbone(name)
        if self.partner not in ("auto", "none"):
            parse_backbone(self.partner)

    def partner_for(self, posts: "PostSet", cache: Path) -> str | None:
        """The backbone of the other modality that must be extracted too, if any.

        Raises:
            ConfigError: The named partner has a modality that a named backbone has.
        """
        named = {parse_backbone(name)[0] for name in self.backbones}
        missing = set(Modality) - named
        if self.partner == "none" or len(missing) != 1:
            return None
        modality = missing.pop()
        if self.partner != "auto":
            if parse_backbone(self.partner)[0] is not modality:
                raise ConfigError(
                    f"--partner {self.partner} has the modality of a named backbone",
                    expected=f"a backbone of {modality}, auto or none",
                )
            return self.partner
        return None if current_caches(posts, modality, cache) else PARTNERS[modality]

    def options_for(self, names: tuple[str, ...]) -> list[BackboneOptions]:
        """Options of each backbone, with its weights.

        Raises:
            ConfigError: Weights belong to no named backbone, or to more than one; or a backbone
                takes no prompt.
        """
        weights = dict(self._assigned(text, names) for text in self.weights)
        modalities = {parse_backbone(name)[0] for name in names}
        # without any text, it is given to pictures, which refuse it
        prompted = Modality.TEXT if Modality.TEXT in modalities else Modality.IMAGE
        return [
            BackboneOptions(
                name,
                weights.get(name),
                self.pooling if takes_pooling(name) else None,
                self.max_tokens,
                self.layers,
                self.prompt if parse_backbone(name)[0] is prompted else None,
            )
            for name in dict.fromkeys(names)
        ]

    @staticmethod
    def _assigned(text: str, names: tuple[str, ...]) -> tuple[str, str]:
        for name in names:
            if text.startswith(f"{name}="):
                return name, text.removeprefix(f"{name}=")
        takers = [name for name in names if not traits(parse_backbone(name)[1]).self_located]
        family = text.partition("=")[0]
        if len(takers) == 1 and ("=" not in text or Path(text).exists()):
            return takers[0], text
        raise ConfigError(
            f"--weights {text} does not name one backbone",
            expected="NAME=PATH with NAME one of " + ", ".join(names),
            found=f"NAME {family!r}" if "=" in text else "a path alone",
        )
