"""Finds the fingerprint and backbone of a damaged cache."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvsa_pipe.backbones.from_record import backbone_from_record
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.cache.checking import ASIDE_SUFFIX
from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import SHARDS
from mvsa_pipe.cache.reading import read_identity
from mvsa_pipe.errors import CacheError, MvsaError
from mvsa_pipe.extraction.fingerprint_memo import memos, recall
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.layers import Keep, Layers


def fingerprint_of(path: Path, root: Path) -> Fingerprint:
    """The fingerprint of an unreadable cache: the one whose digest is part of the file's name.

    It is searched for in the file itself, its parts and shards, and among the backbones that were
    resolved for this folder.

    Raises:
        CacheError: It is in none of these.
    """
    for found, _ in _witnesses(path, root):
        return found
    raise CacheError(
        "This cache is damaged, and its fingerprint was not found elsewhere",
        where=path,
        expected=f"the fingerprint in the file, its parts, its shards or {root / '.resolved'}",
        hint=f"move the file away, then extract again: mvsa extract --data PATH --backbone "
        f"{re.sub('(-[0-9a-f]{8}){1,2}$', '', path.stem)}",
    )


def backbone_of(
    path: Path, root: Path, wanted: Fingerprint, options: ExtractOptions
) -> BackboneOptions:
    """The backbone, with its weights, whose features have the fingerprint on this machine.

    Raises:
        CacheError: No known backbone has it.
    """
    wanted.require_makeable(path)
    records = [record for _, record in _witnesses(path, root) if record is not None]
    for backbone in dict.fromkeys([*records, *_published(wanted)]):
        if _gives(backbone, wanted, options):
            return backbone
    raise CacheError(
        f"Backbone {wanted.backbone!r} with the weights of this cache was not found",
        where=path,
        expected=f"fingerprint {wanted.digest}",
        hint=f"move the file away, then extract again: {wanted.command}, and --weights as before",
    )


def _witnesses(path: Path, root: Path) -> Iterator[tuple[Fingerprint, BackboneOptions | None]]:
    """Fingerprints that match the cache's name, with the backbone where it is recorded."""
    name = f"{path.stem}.h5"
    files = [path, *sorted(parts_folder(path).glob("part-*"))]
    files += sorted((path.parent / SHARDS).glob(f"{path.stem}.*.h5"))
    files += sorted(path.parent.glob(f"{path.stem}*{ASIDE_SUFFIX}"))
    recorded = [found for found in map(read_identity, files) if found is not None]
    for fingerprint, record in [*recorded, *memos(root)]:
        if fingerprint.names(name):
            yield fingerprint, _options(record)


def _options(record: Any) -> BackboneOptions | None:  # noqa: ANN401  # any JSON value
    try:
        return backbone_from_record(record, None)
    except MvsaError:
        return None


def _published(wanted: Fingerprint) -> Iterator[BackboneOptions]:
    """The backbone of that name with its published weights."""
    record: dict[str, Any] = {
        "name": wanted.backbone,
        "weights": None,
        "pooling": wanted.pooling if wanted.pooling in set(Pooling) else None,
        "max_tokens": wanted.preprocessing.get("max_tokens", BackboneOptions.max_tokens),
        "prompt": wanted.prompt,
        "layers": Layers.LAST if wanted.keep is Keep.POOLED else wanted.layers,
    }
    for changes in ({}, {"pooling": None}):
        backbone = _options(record | changes)
        if backbone is not None:
            yield backbone


def _gives(backbone: BackboneOptions, wanted: Fingerprint, options: ExtractOptions) -> bool:
    resolved = recall(backbone, options)
    if resolved is None:
        from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone  # imports torch

        try:
            resolved = LoadedBackbone.load(backbone, options).resolved
        except MvsaError:
            return False
    return resolved.fingerprint == wanted
