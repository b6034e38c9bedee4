"""Encodes posts in memory by frozen backbones, without writing a file.

The same code forms batches and computes features as in an extraction. The features are therefore
equal, bit for bit, to those in a new cache of these posts alone, including rounding to the stored
type. A cache that was filled in several steps, that contains other posts too, or that was computed
on another device formed other batches: sums over padded texts then round differently in their last
digits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.decoding import choose_decoding
from mvsa_pipe.backbones.options import BackboneOptions, Decode
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.finite import require_finite_rows
from mvsa_pipe.devices import resolve_device, resolve_precision
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.job import in_passes
from mvsa_pipe.extraction.loaded_backbone import make_work
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.pipeline import run_pipeline
from mvsa_pipe.extraction.text_batches import TEXTS_SORTED_TOGETHER
from mvsa_pipe.features.batch import ENCODED, HIDDEN, POOLED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.grid import to_grid
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.load import mix_layers
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.resident import RaggedText, ResidentFeatures
from mvsa_pipe.features.source import FeatureSource, batch_of
from mvsa_pipe.layers import Keep, LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import Content, UnreadablePostsError, contents_of
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import NoProgress, Progress

# Callers with many posts encode this many at a time: memory stays bounded, and as texts are sorted
# within windows of this size, batches equal those of an extraction of all posts.
POSTS_ENCODED_TOGETHER = TEXTS_SORTED_TOGETHER

ContentsByModality = Mapping[Modality, Sequence[Content]]
Forwards = Mapping[Modality, Sequence[Forward[Any]]]


@dataclass(frozen=True)
class EncodedPosts:
    """Features of some posts.

    Attributes:
        features: Features of the posts that every backbone could read, in the given order.
        faults: Reasons why the others cannot be read, by post id.
    """

    features: FeatureSource
    faults: dict[str, str]


def encode(
    contents: ContentsByModality,
    backbones: Forwards,
    needs: Iterable[Field],
    classes: int,
    options: FeatureOptions | None = None,
    progress: Progress | None = None,
    decode: Decode = Decode.AUTO,
) -> EncodedPosts:
    """Computes the declared features of some posts.

    Args:
        contents: The text or picture of every post, by modality; the same posts in the same order.
        backbones: The backbones of each modality, in the order in which they are joined.
        needs: The features to keep.
        classes: How many classes heads distinguish.
        options: How image tokens and layers are reduced.
        progress: Receives progress.
        decode: How pictures become pixels.

    Raises:
        BackboneError: A post does not fit into the device's memory.
        CacheError: Features are NaN or infinite; names the posts.
        ConfigError: Pictures cannot be decoded as asked.
    """
    wanted, options = frozenset(needs), options or FeatureOptions()
    faults: dict[str, str] = {}
    kept: dict[Modality, list[_Kept]] = {}
    for modality, forwards in backbones.items():
        own = frozenset(need for need in wanted if need.modality is modality)
        kept[modality] = [_Kept(forward, own, options) for forward in forwards]
        for together in in_passes(kept[modality], lambda one: one.forward.backbone.modality):
            faults |= _encode(contents[modality], together, progress or NoProgress(), decode)
    some = next(iter(contents.values()), ())
    ids = tuple(item.id for item in some if item.id not in faults)
    sources = {m: tuple(one.features(ids, classes) for one in of_it) for m, of_it in kept.items()}
    joined = JoinedFeatures(sources)
    if any(len(of_it) > 1 for of_it in sources.values()):
        return EncodedPosts(joined, faults)
    alone = {modality: of_it[0] for modality, of_it in sources.items()}
    text, image = alone.get(Modality.TEXT), alone.get(Modality.IMAGE)
    features = ResidentFeatures(
        post_ids=ids,
        sizes=joined.sizes,
        text_hidden=text.text_hidden if text else None,
        text_pooled=text.text_pooled if text else None,
        image_hidden=image.image_hidden if image else None,
        image_pooled=image.image_pooled if image else None,
    )
    return EncodedPosts(features, faults)


def encode_posts(
    posts: PostSet,
    backbones: Sequence[BackboneOptions],
    options: ExtractOptions,
    progress: Progress,
) -> FeatureBatch:
    """Features of all posts by some backbones as one batch; nothing is written.

    Args:
        posts: The posts.
        backbones: The backbones; several of one modality are joined in their order.
        options: Device, precision and type of the features, and which of them are returned.
        progress: Notified of posts.

    Raises:
        UnreadablePostsError: A post lacks what a backbone reads, or it cannot be read.
        BackboneError: Weights cannot be loaded, or a post does not fit into the device's memory.
        ConfigError: The device or the precision cannot be used, or layers are requested without
            hidden states.
    """
    options.refuse_layers(backbones)
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    contents: dict[Modality, Sequence[Content]] = {}
    forwards: dict[Modality, list[Forward[Any]]] = {}
    for wanted in backbones:
        if wanted.modality not in contents:
            contents[wanted.modality], faults = contents_of(posts, wanted.modality)
            if faults:
                raise UnreadablePostsError(faults, posts.storage.root)
        progress.say(f"loading {wanted.name}")
        backbone = load_backbone(wanted)
        backbone.to(device)
        forward = Forward(backbone, device, precision, options.dtype, options.keep)
        forwards.setdefault(wanted.modality, []).append(forward)
    returned = POOLED if options.keep is Keep.POOLED else ENCODED
    needs = [need for need in Field if need in returned and need.modality in forwards]
    mix = FeatureOptions(layer_mix=LayerMix.LEARNED)  # all layers that are kept
    encoded = encode(contents, forwards, needs, 1, mix, progress, options.decode)
    if encoded.faults:
        raise UnreadablePostsError(encoded.faults, posts.storage.root)
    return batch_of(encoded.features, torch.arange(len(posts)), needs)


def _encode(
    items: Sequence[Content], kept: Sequence["_Kept"], progress: Progress, decode: Decode
) -> dict[str, str]:
    """Runs backbones together and keeps what is needed; returns reasons of unreadable posts."""
    forwards = [one.forward for one in kept]
    names = [forward.backbone.identity.name for forward in forwards]
    decoding = None
    if forwards[0].backbone.modality is Modality.IMAGE:
        images = [forward.backbone for forward in forwards]
        decoding = choose_decoding(decode, images, len(items), progress.say)
    progress.start(f"encode {' + '.join(names)}", len(items), "posts")
    work = make_work(forwards, Clock(), decoding=decoding)
    ids = {item.id for item in items}
    faults: dict[str, str] = {}
    for done in run_pipeline(work, work.parts(items, [ids] * len(kept)), 0, progress.advance):
        for one, blocks, refused in zip(kept, done.rows, done.refused, strict=True):
            faults |= {refusal.id: refusal.reason for refusal in refused}
            for rows in blocks:
                one.add(rows)
    return faults


@dataclass
class _Kept:
    """The kept features of one backbone, collected batch by batch.

    Attributes:
        forward: The backbone.
        needs: The features of its modality that are kept.
        options: How image tokens and layers are reduced.
        ids: The posts, in the order of their batches.
    """

    forward: Forward[Any]
    needs: frozenset[Field]
    options: FeatureOptions
    ids: list[str] = field(default_factory=list)
    _pooled: list[Tensor] = field(default_factory=list)
    _hidden: list[Tensor] = field(default_factory=list)
    _lengths: list[int] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        """Keeps what is needed of one batch.

        Raises:
            CacheError: Features are NaN or infinite; names the posts.
        """
        require_finite_rows(rows, self.forward.backbone.identity.name, self.forward.dtype, None)
        self.ids += rows.ids
        if self.needs & POOLED:
            self._pooled.append(torch.from_numpy(rows.pooled))
        if self.needs & HIDDEN:
            states = torch.from_numpy(rows.hidden)
            if rows.layers > 1:
                states = mix_layers(states, self.options.layer_mix)
            if rows.lengths is None:
                states = to_grid(states, self.options.image_grid)
            else:
                self._lengths += rows.lengths.tolist()
            self._hidden.append(states.contiguous())  # a view would keep all layers in memory

    def features(self, ids: Sequence[str], classes: int) -> ResidentFeatures:
        """The features of some of the posts, in an order."""
        backbone = self.forward.backbone
        is_text = backbone.modality is Modality.TEXT
        places = {post_id: place for place, post_id in enumerate(self.ids)}
        order = torch.tensor([places[post_id] for post_id in ids], dtype=torch.int64)
        layers = self.options.layers_of(backbone.layers)
        mixed = ((layers, backbone.width),) if layers > 1 else ()
        tokens = 1 if is_text else self.options.tokens_of(backbone.tokens)
        made: dict[str, Any] = {}
        if self.needs & POOLED:
            name = "text_pooled" if is_text else "image_pooled"
            made[name] = _rows(self._pooled, (backbone.width,), self._dtype, order)
        if self.needs & HIDDEN:
            vector = (*([layers] if layers > 1 else []), backbone.width)
            if is_text:
                made["text_hidden"] = self._ragged(vector, order)
            else:
                made["image_hidden"] = _rows(self._hidden, (tokens, *vector), self._dtype, order)
        return ResidentFeatures(
            post_ids=tuple(ids),
            sizes=FeatureSizes(
                text_width=backbone.width if is_text else 1,
                image_width=1 if is_text else backbone.width,
                image_tokens=tokens,
                classes=classes,
                text_layers=mixed if is_text else (),
                image_layers=() if is_text else mixed,
            ),
            **made,
        )

    def _ragged(self, vector: tuple[int, ...], order: Int[Tensor, " n"]) -> RaggedText:
        """Token states stay in the order of their batches; offsets follow the posts' order."""
        states = torch.cat([torch.empty((0, *vector), dtype=self._dtype), *self._hidden])
        lengths = torch.tensor(self._lengths, dtype=torch.int64)
        return RaggedText(states, (lengths.cumsum(0) - lengths)[order], lengths[order])

    @property
    def _dtype(self) -> torch.dtype:
        return torch.from_numpy(np.empty(0, self.forward.dtype.value)).dtype


def _rows(
    blocks: Sequence[Tensor], shape: tuple[int, ...], dtype: torch.dtype, order: Int[Tensor, " n"]
) -> Tensor:
    """Blocks of rows of one shape as one tensor, in an order."""
    rows = torch.cat([torch.empty((0, *shape), dtype=dtype), *blocks])
    in_order = len(order) == len(rows) and bool((order.diff() == 1).all())
    return rows if in_order else rows[order]  # pictures come in their order: no second copy
