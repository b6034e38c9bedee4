"""Chooses the backbones to tune: those of cached features, or named ones."""

from collections.abc import Iterable
from dataclasses import replace

from mvsa_pipe.backbones import load_backbone, parse_backbone
from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import BackboneError, CacheError, ConfigError, MvsaError, UnknownNameError
from mvsa_pipe.extraction.backbone_choice import ExtractChoice, current_caches
from mvsa_pipe.finetune.options import LiveChoice
from mvsa_pipe.layers import Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet

Loaded = tuple[BackboneOptions, TextBackbone | ImageBackbone]


def load_chosen(choice: LiveChoice, posts: PostSet, modality: Modality) -> Loaded:
    """Loads the backbone of one modality.

    It is the backbone of the newest matching cache, so that tuned and cached features can be
    compared; without such a cache, the named one.

    Raises:
        CacheError: There is no cache, and no backbone is named.
        BackboneError: Its weights cannot be loaded, or differ from those of the cache.
    """
    named = named_backbone(choice, modality)
    own = _weights_of(named, choice.weights)
    prompt = choice.prompt if modality is Modality.TEXT else None
    if named is None or not (own or prompt is not None):
        found = current_caches(posts, modality, choice.caches.folder, named)
        if found:
            return _of_cache(found[0])
        if named is None or not _is_backbone(named, modality):
            raise _nothing_cached(choice, posts, modality, named)
    extraction = ExtractChoice(
        (named,), own, "none", choice.pooling, choice.max_tokens, prompt=prompt
    )
    (options,) = extraction.options_for((named,))
    return options.located(), load_backbone(options)


def _nothing_cached(
    choice: LiveChoice, posts: PostSet, modality: Modality, named: str | None
) -> CacheError:
    """The error about missing caches, or about caches of other posts."""
    try:
        others = CacheFolder(choice.caches.folder).fitting(posts.name, modality, named)
    except CacheError as error:
        return error
    return CacheError(
        f"The cached {modality} features are of other posts with this name",
        where=others[0].path,
        expected=f"posts of {posts.storage.root}",
        hint=f"name the backbone: --{modality} NAME",
    )


def named_backbone(choice: LiveChoice, modality: Modality) -> str | None:
    """The value of ``--text`` or ``--image``.

    Raises:
        ConfigError: Several backbones.
    """
    names = choice.caches.names_of(modality)
    if len(names) > 1:
        raise ConfigError(
            f"--{modality} names several backbones, but only one per modality can be tuned",
            expected="one name; for a cache whose name contains a +, @ and its digits",
            found=" + ".join(map(str, names)),
        )
    return names[0]


def _weights_of(named: str | None, weights: Iterable[str]) -> tuple[str, ...]:
    """Values of ``--weights`` for a backbone; a bare path applies to all that accept weights."""
    if named is None:
        return ()
    return tuple(
        text for text in weights if text.startswith(f"{named}=") or ("=" not in text and text)
    )


def _is_backbone(name: str, modality: Modality) -> bool:
    try:
        return parse_backbone(name)[0] is modality
    except MvsaError:
        return False


def _of_cache(file: FeatureFile) -> Loaded:
    fingerprint = file.header.fingerprint
    try:
        options = replace(file.backbone_options(), layers=Layers.LAST)
        backbone = load_backbone(options)
    except (CacheError, BackboneError, UnknownNameError) as error:
        raise BackboneError(
            f"The features of backbone {fingerprint.backbone!r} are cached, but the backbone's "
            "weights are not available, and fine-tuning needs them",
            where=file.path,
            found=error.what if error.where is None else f"{error.what} ({error.where})",
            hint=f"name it with its weights: --{fingerprint.modality} NAME --weights NAME=PATH",
        ) from error
    if backbone.identity.weights != fingerprint.weights:
        raise BackboneError(
            f"The weights of backbone {fingerprint.backbone!r} have changed since its features "
            "were cached, so tuned and cached features could not be compared",
            where=file.path,
            expected=f"weights {fingerprint.weights}",
            found=backbone.identity.weights,
            hint="run mvsa extract with these weights first, or restore the original weights",
        )
    return options, backbone
