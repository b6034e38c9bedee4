"""Reads the options of a backbone from the records in caches, runs and exports."""

from collections.abc import Mapping
from typing import Any

from mvsa_pipe.backbones.options import DECODER, BackboneOptions, Pooling
from mvsa_pipe.errors import CacheError
from mvsa_pipe.layers import Layers
from mvsa_pipe.user_code import Origin

# Value in records of pictures decoded on a GPU, which this version does not support.
_DECODED_ON_GPU = "gpu"
# What they name as decoder where ``--decode fast`` had a fingerprint of its own.
_SAME_PIXELS = "simplejpeg, and only the crop resized, as Pillow does, by numba"

Preprocessing = dict[str, str | int | float]


def backbone_from_record(fields: object, where: object) -> BackboneOptions:
    """The options of a record that ``BackboneOptions.as_record`` returned.

    Args:
        fields: The record, as JSON returns it.
        where: The file that contains it, for messages.

    Raises:
        CacheError: The record is missing or damaged, or an earlier version made the features in a
            way that this version cannot.
    """
    if isinstance(fields, dict) and fields.get("decode") == _DECODED_ON_GPU:
        raise not_makeable("--decode gpu", where)
    try:
        if isinstance(fields, dict) and "source" in fields:
            from mvsa_pipe.backbones.own import add_recorded_backbone  # imports torch

            add_recorded_backbone(fields["name"], Origin.from_record(fields["source"]), where)
        return _backbone(fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CacheError(
            "The record of the backbone is missing or invalid",
            where=where,
            expected="name, weights, pooling and max_tokens of a backbone",
            found="none" if fields is None else f"{type(error).__name__}: {error}",
            hint="mvsa extract with the backbone's name makes features with a record",
        ) from error


def _backbone(fields: Any) -> BackboneOptions:  # noqa: ANN401  # any JSON value
    return BackboneOptions(
        fields["name"],
        weights=fields["weights"],
        pooling=Pooling(fields["pooling"]) if fields["pooling"] else None,
        max_tokens=fields["max_tokens"],
        layers=Layers(fields.get("layers", Layers.LAST)),
        prompt=fields.get("prompt"),
        tuned=fields.get("tuned"),
    )


def renewed_preprocessing(fields: Mapping[str, str | int | float]) -> Preprocessing:
    """The fields of a preprocessing, with one value for equal pixels of either decoder."""
    own = dict(fields)
    if own.get("decoder") == _SAME_PIXELS:
        own["decoder"] = DECODER
    return own


def not_makeable(option: str, where: object, command: str = "mvsa extract") -> CacheError:
    """The error for features that were made by an option that no longer exists."""
    return CacheError(
        f"These features were made by {option}, which this version does not have, so that no "
        "posts can be added to them or extracted again",
        where=where,
        expected="features that this version can compute",
        hint=f"{command}, then mvsa fit over the new cache; the old cache can still be read",
    )
