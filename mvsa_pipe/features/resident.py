"""Cached features of many posts in memory, from which any batch is one index selection."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.cache.layout import bounds_of
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import memory_to_copy_from
from mvsa_pipe.errors import CacheError, ConfigError, name_some
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality

# Posts whose layers are mixed at a time: all layers of all posts need several times the memory.
_BLOCK = 64


def layers_for(file: FeatureFile, mix: LayerMix) -> int:
    """How many layers of a cache a head is handed."""
    return file.header.layers if mix is LayerMix.LEARNED else 1


def read_states(
    file: FeatureFile, rows: NDArray[np.int64], mix: LayerMix
) -> tuple[Tensor, NDArray[np.int64]]:
    """Hidden states of some rows, checked, and where each row's begin and end.

    Of the ``L`` layers that a head is handed, those of a text token stand one after the other,
    ``[ΣT·L, D]``, and those of an image token side by side, ``[N, P, L·D]``.

    Raises:
        CacheError: Bytes were changed on disk; names the posts.
    """
    header, layers = file.header, layers_for(file, mix)
    dtype = header.fingerprint.dtype.value
    lengths = np.ones_like(rows) if header.offsets is None else np.diff(header.offsets)[rows]
    bounds = bounds_of(lengths)
    if header.layers == 1:
        into = memory_to_copy_from((int(bounds[-1]), *header.entry_shape), dtype)
        return torch.from_numpy(file.hidden(rows, into)[0]), bounds
    shape = (int(bounds[-1]), *header.entry_shape[:-2], layers, header.width)
    states = memory_to_copy_from(shape, dtype)
    for start in range(0, len(rows), _BLOCK):
        stop = min(start + _BLOCK, len(rows))
        block = torch.from_numpy(file.hidden(rows[start:stop])[0])
        states[bounds[start] : bounds[stop]] = _mixed(block, mix).numpy()
    if header.offsets is None:
        return torch.from_numpy(states).flatten(2), bounds
    return torch.from_numpy(states).flatten(0, 1), bounds * layers


def _mixed(states: Float[Tensor, "N *tokens L D"], mix: LayerMix) -> Float[Tensor, "N *rest D"]:
    """The layers that a head is handed: all, or the one that they are mixed to."""
    if mix is LayerMix.LAST:
        return states[..., -1:, :]
    if mix is LayerMix.MEAN:
        normalised = F.layer_norm(states.float(), states.shape[-1:])
        return normalised.mean(dim=-2, keepdim=True).to(states.dtype)
    return states


# Posts whose image tokens are read and averaged at a time.
_GRID_BLOCK = 256


@dataclass(frozen=True)
class RaggedText:
    """Token states of all posts end to end.

    Attributes:
        states: ``[ΣT, Dt]``.
        offsets: Where each post begins ``[N]``.
        lengths: Tokens of each post ``[N]``.
    """

    states: Tensor
    offsets: Tensor
    lengths: Tensor

    def longest(self, chosen: Sequence[Int[Tensor, " _"]]) -> list[int]:
        """Tokens of the longest text of each batch, asked of a device once for all of them."""
        every = [self.lengths[posts].max() for posts in chosen]
        return torch.stack(every).tolist() if every else []

    def padded(self, posts: Int[Tensor, " B"], longest: int) -> tuple[Tensor, Tensor]:
        """Hidden states ``[B, T, Dt]`` of some posts and their mask ``[B, T]``.

        Args:
            posts: Their indices.
            longest: ``T``, no less than the tokens of any of them.
        """
        lengths = self.lengths[posts]
        steps = torch.arange(longest, device=posts.device)
        mask = steps < lengths[:, None]
        # Positions of padding point at the post's first token: valid to read, masked afterwards.
        places = self.offsets[posts][:, None] + torch.where(mask, steps, 0)
        states = self.states.index_select(0, places.reshape(-1))
        return states.view(*mask.shape, -1), mask


@dataclass(frozen=True)
class ResidentFeatures:
    """The features that heads declared, of ``N`` posts, on one device.

    Attributes:
        post_ids: The posts, in the order of every index.
        sizes: Widths and token counts; ``classes`` is set by whoever knows the labels.
        text_hidden: Token states.
        text_pooled: ``[N, Dt]``.
        image_hidden: ``[N, P, Di]``.
        image_pooled: ``[N, Di]``.
    """

    post_ids: tuple[str, ...]
    sizes: FeatureSizes
    text_hidden: RaggedText | None = None
    text_pooled: Tensor | None = None
    image_hidden: Tensor | None = None
    image_pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.post_ids)

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None:
        """Text tokens of every post; ``None`` where no token states are held."""
        return self.text_hidden.lengths if self.text_hidden else None

    def batch(self, posts: Int[Tensor, " B"], needs: Iterable[Field]) -> FeatureBatch:
        """The declared features of some posts, by index."""
        (only,) = self.batches([posts], needs)
        return only

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of one batch of posts after the other.

        On a GPU no batch waits for what was computed before it: all that has to be known of them in
        this process, as how long their texts are, is asked for before the first.
        """
        wanted, every = frozenset(needs), list(chosen)
        text = self.text_hidden if Field.TEXT_HIDDEN in wanted else None
        longest = [0] * len(every) if text is None else text.longest(every)
        return (self._batch(*each, wanted) for each in zip(every, longest, strict=True))

    def _batch(
        self, posts: Int[Tensor, " B"], longest: int, wanted: frozenset[Field]
    ) -> FeatureBatch:
        hidden = mask = None
        if Field.TEXT_HIDDEN in wanted and self.text_hidden is not None:
            hidden, mask = self.text_hidden.padded(posts, longest)
        return FeatureBatch(
            text_hidden=hidden,
            text_mask=mask,
            text_pooled=_selected(self.text_pooled, posts, Field.TEXT_POOLED in wanted),
            image_hidden=_selected(self.image_hidden, posts, Field.IMAGE_HIDDEN in wanted),
            image_pooled=_selected(self.image_pooled, posts, Field.IMAGE_POOLED in wanted),
        )

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors."""
        text = [self.text_hidden.states] if self.text_hidden else []
        tensors = [*text, self.text_pooled, self.image_hidden, self.image_pooled]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def to(self, device: torch.device) -> "ResidentFeatures":
        """The same features on another device."""
        text = self.text_hidden
        if text is not None:
            text = RaggedText(*(t.to(device) for t in (text.states, text.offsets, text.lengths)))
        return replace(
            self,
            text_hidden=text,
            text_pooled=_moved(self.text_pooled, device),
            image_hidden=_moved(self.image_hidden, device),
            image_pooled=_moved(self.image_pooled, device),
        )


def _selected(values: Tensor | None, posts: Tensor, wanted: bool) -> Tensor | None:
    return values.index_select(0, posts) if wanted and values is not None else None


def _moved(values: Tensor | None, device: torch.device) -> Tensor | None:
    return None if values is None else values.to(device)


def load_resident(
    files: Mapping[Modality, FeatureFile],
    post_ids: Sequence[str],
    needs: Iterable[Field],
    classes: int,
    image_grid: int = 0,
    mix: LayerMix = LayerMix.LAST,
) -> ResidentFeatures:
    """Reads the declared features of some posts from their caches, each row checked.

    Args:
        files: The cache of each modality.
        post_ids: The posts, in the order of every later index.
        needs: The features to read.
        classes: How many classes heads tell apart.
        image_grid: Image tokens are averaged to at most so many rows and columns; 0 keeps all.
        mix: What becomes of several layers; those that heads shall mix stand in the tokens' place,
            all of a token in turn.

    Raises:
        CacheError: A cache lacks posts, is missing for a declared modality, or was damaged.
    """
    wanted = set(needs)
    rows = {modality: _rows(file, post_ids) for modality, file in files.items()}
    text, image = files.get(Modality.TEXT), files.get(Modality.IMAGE)
    lacking = sorted({field.modality for field in wanted} - files.keys())
    if lacking:
        raise CacheError(f"No {' and no '.join(lacking)} cache was given for heads that read it")
    sizes = FeatureSizes(
        text_width=text.header.width if text else 1,
        image_width=image.header.width if image else 1,
        image_tokens=grid_tokens(image.header.tokens, image_grid) if image else 1,
        classes=classes,
        text_layers=_layers_for_head(text, mix),
        image_layers=_layers_for_head(image, mix),
    )
    tensors = {
        field: torch.from_numpy(files[field.modality].pooled(rows[field.modality]))
        for field in wanted & {Field.TEXT_POOLED, Field.IMAGE_POOLED}
    }
    hidden_text = None
    if text and Field.TEXT_HIDDEN in wanted:
        states, bounds = read_states(text, rows[Modality.TEXT], mix)
        hidden_text = RaggedText(
            states, torch.from_numpy(bounds[:-1].copy()), torch.from_numpy(np.diff(bounds))
        )
    hidden_image = None
    if image and Field.IMAGE_HIDDEN in wanted:
        hidden_image = _places(image, rows[Modality.IMAGE], image_grid, mix)
    return ResidentFeatures(
        post_ids=tuple(post_ids),
        sizes=sizes,
        text_hidden=hidden_text,
        text_pooled=tensors.get(Field.TEXT_POOLED),
        image_hidden=hidden_image,
        image_pooled=tensors.get(Field.IMAGE_POOLED),
    )


def _places(
    file: FeatureFile, rows: NDArray[np.int64], grid: int, mix: LayerMix
) -> Float[Tensor, "N P D"]:
    """Image tokens of some posts, averaged block by block so that few are ever held in full."""
    size = _GRID_BLOCK if grid_tokens(file.header.tokens, grid) < file.header.tokens else len(rows)
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    cells = torch.cat([to_grid(read_states(file, block, mix)[0], grid) for block in blocks])
    return cells.view(len(cells), -1, file.header.width)


def _layers_for_head(file: FeatureFile | None, mix: LayerMix) -> tuple[tuple[int, int], ...]:
    if file is None or layers_for(file, mix) == 1:
        return ()
    return ((layers_for(file, mix), file.header.width),)


def _rows(file: FeatureFile, post_ids: Sequence[str]) -> np.ndarray:
    missing = [post_id for post_id in post_ids if post_id not in file.rows]
    if missing:
        raise CacheError(
            f"The cache of {file.header.fingerprint.backbone} lacks {len(missing):,} posts",
            where=file.path,
            found=f"missing: {name_some(missing)}",
            hint="mvsa extract with the same --data and --backbone adds them",
        )
    return np.array([file.rows[post_id] for post_id in post_ids], np.int64)


def grid_tokens(tokens: int, grid: int) -> int:
    """How many image tokens are left of ``P`` when they are averaged to a grid.

    Raises:
        ConfigError: The tokens form no square, with or without one token before it.
    """
    side, extra = _square(tokens)
    if grid and not side:
        raise ConfigError(
            "--image-grid needs image tokens that form a square",
            found=f"{tokens} tokens",
            hint="leave --image-grid out",
        )
    return tokens if not 0 < grid < side else grid * grid + extra


def to_grid(hidden: Float[Tensor, "N P D"], grid: int) -> Float[Tensor, "N Q D"]:
    """Averages image tokens over a grid of ``grid × grid`` areas; a CLS token stays first.

    Areas that cells straddle share them, as in adaptive average pooling.
    """
    tokens = hidden.shape[1]
    if grid_tokens(tokens, grid) == tokens:
        return hidden
    side, extra = _square(tokens)
    cells = hidden[:, extra:].float().transpose(1, 2).reshape(len(hidden), -1, side, side)
    pooled = F.adaptive_avg_pool2d(cells, grid).flatten(2).transpose(1, 2)
    return torch.cat([hidden[:, :extra].float(), pooled], dim=1).to(hidden.dtype)


def _square(tokens: int) -> tuple[int, int]:
    """Side of the square that tokens form and how many stand before it; (0, 0) if they do not."""
    for extra in (0, 1):
        side = math.isqrt(tokens - extra)
        if side * side == tokens - extra:
            return side, extra
    return 0, 0
