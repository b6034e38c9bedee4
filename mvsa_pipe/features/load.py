"""Reads cached features of posts: into memory, or streamed from the disk where it has no room."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.cache.content import bounds_of
from mvsa_pipe.cache.folder import StatesNotKeptError
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import empty_pinned
from mvsa_pipe.errors import CacheError, name_some
from mvsa_pipe.features.batch import HIDDEN, POOLED, FeatureSizes, Field
from mvsa_pipe.features.grid import to_grid
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.resident import RaggedText, ResidentFeatures
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.features.streamed import BLOCKS, StreamedFeatures
from mvsa_pipe.layers import Keep, LayerMix
from mvsa_pipe.modality import Modality

# Posts whose layers are mixed at a time: all layers of all posts need several times the memory.
_MIX_BLOCK = 64

# Posts whose image tokens are read and averaged at a time.
_GRID_BLOCK = 256

Files = Mapping[Modality, Sequence[FeatureFile]]


_DEFAULTS = FeatureOptions()


def load(
    files: Files,
    post_ids: Sequence[str],
    needs: Iterable[Field],
    classes: int,
    options: FeatureOptions = _DEFAULTS,
    limit_bytes: float = float("inf"),
) -> FeatureSource:
    """Reads the declared features of some posts; token states beyond a limit are streamed.

    Args:
        files: The caches of each modality, in the order in which they are joined.
        post_ids: The posts, in the order of every later index.
        needs: The features to read.
        classes: How many classes heads distinguish.
        options: What becomes of image tokens and layers.
        limit_bytes: Memory that token states may take.

    Raises:
        CacheError: A cache lacks posts, is missing for a declared modality, or was damaged.
        StatesNotKeptError: Hidden states are declared, and a cache keeps pooled vectors alone.
    """
    wanted, ids = set(needs), tuple(post_ids)
    lacking = sorted({field.modality for field in wanted} - files.keys())
    if lacking:
        raise CacheError(f"No {' and no '.join(lacking)} cache was given for heads that read it")
    hidden = wanted & HIDDEN
    read = {m: of_it for m, of_it in files.items() if any(need.modality is m for need in hidden)}
    for file in (file for of_it in read.values() for file in of_it):
        if file.header.fingerprint.keep is Keep.POOLED:
            raise StatesNotKeptError(file)
    states = sum(_state_bytes(file, ids, options) for of_it in read.values() for file in of_it)
    if states <= limit_bytes:
        return _in_memory(files, ids, wanted, classes, options)

    def read_states_of(posts: Sequence[int]) -> FeatureSource:
        return _in_memory(read, [ids[i] for i in posts], hidden, classes, options)

    counts = [_token_counts(file, ids) for file in read.get(Modality.TEXT, ())]
    return StreamedFeatures(
        vectors=_in_memory(files, ids, wanted & POOLED, classes, options),
        read=read_states_of,
        token_counts=torch.stack(counts).sum(dim=0) if counts else None,
        block_posts=max(1, int(limit_bytes / BLOCKS / (states / len(ids)))),
    )


def _in_memory(
    files: Files, ids: Sequence[str], wanted: set[Field], classes: int, options: FeatureOptions
) -> FeatureSource:
    if all(len(of_it) == 1 for of_it in files.values()):
        alone = {modality: of_it[0] for modality, of_it in files.items()}
        return _resident(alone, ids, wanted, classes, options)
    return JoinedFeatures(
        {
            modality: tuple(
                _resident(
                    {modality: file},
                    ids,
                    {need for need in wanted if need.modality is modality},
                    classes,
                    options,
                )
                for file in of_it
            )
            for modality, of_it in files.items()
        }
    )


def _resident(
    files: Mapping[Modality, FeatureFile],
    ids: Sequence[str],
    wanted: set[Field],
    classes: int,
    options: FeatureOptions,
) -> ResidentFeatures:
    """Reads the declared features of one backbone a modality, each row checked."""
    rows = {modality: _rows(file, ids) for modality, file in files.items()}
    text, image = files.get(Modality.TEXT), files.get(Modality.IMAGE)
    pooled = {
        field: torch.from_numpy(files[field.modality].pooled(rows[field.modality]))
        for field in wanted & POOLED
    }
    hidden_text = hidden_image = None
    if text and Field.TEXT_HIDDEN in wanted:
        states, bounds = _states(text, rows[Modality.TEXT], options.layer_mix)
        lengths = torch.from_numpy(np.diff(bounds))
        hidden_text = RaggedText(states, torch.from_numpy(bounds[:-1].copy()), lengths)
    if image and Field.IMAGE_HIDDEN in wanted:
        hidden_image = _image_states(image, rows[Modality.IMAGE], options)
    return ResidentFeatures(
        post_ids=tuple(ids),
        sizes=FeatureSizes(
            text_width=text.header.width if text else 1,
            image_width=image.header.width if image else 1,
            image_tokens=options.tokens_of(image.header.tokens) if image else 1,
            classes=classes,
            text_layers=_layers_for_head(text, options),
            image_layers=_layers_for_head(image, options),
        ),
        text_hidden=hidden_text,
        text_pooled=pooled.get(Field.TEXT_POOLED),
        image_hidden=hidden_image,
        image_pooled=pooled.get(Field.IMAGE_POOLED),
    )


def _layers_for_head(
    file: FeatureFile | None, options: FeatureOptions
) -> tuple[tuple[int, int], ...]:
    layers = 1 if file is None else options.layers_of(file.header.layers)
    return () if file is None or layers == 1 else ((layers, file.header.width),)


def _states(
    file: FeatureFile, rows: NDArray[np.int64], mix: LayerMix
) -> tuple[Float[Tensor, "_ *tokens D"], NDArray[np.int64]]:
    """Hidden states of some rows, checked, and where each row's begin and end.

    ``[ΣT, D]`` of text, ``[N, P, D]`` of pictures, with an axis ``L`` before ``D`` where a head
    mixes several layers.

    Raises:
        CacheError: Bytes were changed on disk; names the posts.
    """
    header = file.header
    dtype = header.fingerprint.dtype.value
    lengths = np.ones_like(rows) if header.offsets is None else np.diff(header.offsets)[rows]
    bounds = bounds_of(lengths)
    if header.layers == 1:
        into = empty_pinned((int(bounds[-1]), *header.entry_shape), dtype)
        return torch.from_numpy(file.hidden(rows, into)[0]), bounds
    kept = (header.layers,) if mix is LayerMix.LEARNED else ()
    states = empty_pinned((int(bounds[-1]), *header.entry_shape[:-2], *kept, header.width), dtype)
    for start in range(0, len(rows), _MIX_BLOCK):
        stop = min(start + _MIX_BLOCK, len(rows))
        block = torch.from_numpy(file.hidden(rows[start:stop])[0])
        states[bounds[start] : bounds[stop]] = mix_layers(block, mix).numpy()
    return torch.from_numpy(states), bounds


def mix_layers(states: Float[Tensor, "N *tokens L D"], mix: LayerMix) -> Float[Tensor, "N *rest D"]:
    """The layers that a head reads: all of them, or the one that they are mixed to."""
    if mix is LayerMix.LAST:
        return states[..., -1, :]
    if mix is LayerMix.MEAN:
        normalised = F.layer_norm(states.float(), states.shape[-1:])
        return normalised.mean(dim=-2).to(states.dtype)
    return states


def _image_states(
    file: FeatureFile, rows: NDArray[np.int64], options: FeatureOptions
) -> Float[Tensor, "N P *L D"]:
    """Image tokens of some posts, averaged block by block to bound memory."""
    tokens = file.header.tokens
    size = _GRID_BLOCK if options.tokens_of(tokens) < tokens else len(rows)
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    grid, mix = options.image_grid, options.layer_mix
    return torch.cat([to_grid(_states(file, block, mix)[0], grid) for block in blocks])


def _rows(file: FeatureFile, post_ids: Sequence[str]) -> NDArray[np.int64]:
    missing = [post_id for post_id in post_ids if post_id not in file.rows]
    if missing:
        raise CacheError(
            f"The cache of {file.header.fingerprint.backbone} lacks {len(missing):,} posts",
            where=file.path,
            found=f"missing: {name_some(missing)}",
            hint="mvsa extract with the same --data and --backbone adds them",
        )
    return np.array([file.rows[post_id] for post_id in post_ids], np.int64)


def _token_counts(file: FeatureFile, post_ids: Sequence[str]) -> Int[Tensor, " N"]:
    """Text tokens of every post."""
    offsets = file.header.offsets
    assert offsets is not None  # noqa: S101 (a text cache)
    rows = [file.rows[post_id] for post_id in post_ids if post_id in file.rows]
    return torch.from_numpy(np.diff(offsets)[rows])


def _state_bytes(file: FeatureFile, post_ids: Sequence[str], options: FeatureOptions) -> int:
    """Bytes of some posts' token states in memory."""
    header = file.header
    if header.fingerprint.modality is Modality.TEXT:
        tokens = int(_token_counts(file, post_ids).sum())
    else:
        tokens = len(post_ids) * options.tokens_of(header.tokens)
    itemsize = np.dtype(header.fingerprint.dtype.value).itemsize
    return tokens * options.layers_of(header.layers) * header.width * itemsize
