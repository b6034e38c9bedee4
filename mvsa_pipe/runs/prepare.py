"""Loads experiments: posts, split and features for training and scoring heads."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import free_memory_bytes
from mvsa_pipe.errors import DataError, SplitError, name_some
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.load import load
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.features.streamed import StreamedFeatures
from mvsa_pipe.heads import HEADS
from mvsa_pipe.layers import Keep, LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, Split, parse_split, protocol_tag
from mvsa_pipe.posts.splits.make_split import resolved_split
from mvsa_pipe.posts.splits.split import PARTS, TEST
from mvsa_pipe.runs import Member, split_table
from mvsa_pipe.runs.cache_choice import chosen_files, naming_heads, refuse_single_layers
from mvsa_pipe.runs.layout import CONTENT_DIGITS
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.data import TrainingData


@dataclass(frozen=True)
class Experiment:
    """Posts, split and features for training and scoring any number of heads.

    Attributes:
        data: The choice of posts.
        caches: The choice of caches.
        posts: The posts.
        split: Their split.
        protocol: The protocol tag.
        files: The caches of each modality, in the order of joining.
        training_data: Features, labels, and training and validation posts.
        indices: Indices of the posts of each part.
        left_out: Labelled posts of the split that the extraction skipped.
    """

    data: DataChoice
    caches: CacheChoice
    posts: PostSet
    split: Split
    protocol: str
    files: dict[Modality, tuple[FeatureFile, ...]]
    training_data: TrainingData
    indices: dict[str, torch.Tensor]
    left_out: tuple[str, ...]

    @property
    def backbones(self) -> dict[str, str]:
        """Name of each modality's backbone; ``A+B`` for joined backbones."""
        return {
            modality.value: "+".join(file.header.fingerprint.backbone for file in files)
            for modality, files in self.files.items()
        }

    def feature_records(self) -> dict[str, Any]:
        """Caches and backbones of each modality, for a run's record."""
        return {m.value: _cache_records(files) for m, files in self.files.items()}

    def contents(self) -> dict[Modality, dict[str, str]]:
        """Content digest of each modality of every post, by id."""
        return {m: files[0].header.content_digests for m, files in self.files.items()}

    @cached_property
    def split_csv(self) -> bytes:
        """The ``split.csv`` of every run: part, label and content digests of each post."""
        labels = {post.id: post.label or "" for post in self.posts.posts}
        contents, left_out = self.contents(), set(self.left_out)
        members = []
        for i, part in self.split.parts.items():
            read = {m: of[i][:CONTENT_DIGITS] for m, of in contents.items() if i in of}
            members.append(Member(i, part, labels[i], {} if i in left_out else read))
        return split_table(members)

    def labels_of(self, part: str) -> NDArray[np.int64]:
        """True class of every post of a part."""
        return self.training_data.labels.cpu()[self.indices[part]].numpy()

    def to(self, device: torch.device) -> "Experiment":
        """The same experiment with its data on a device, if it fits there."""
        return replace(self, training_data=self.training_data.to(device))

    def read_by(self, head: str) -> "Experiment":
        """The same experiment with only the caches that a head reads."""
        read = {need.modality for need in needs_of([head])}
        return replace(self, files={m: files for m, files in self.files.items() if m in read})

    def split_as(self, name: str, seed: int) -> "Experiment":
        """The same posts and features under another split, named as ``--split`` names it.

        Raises:
            SplitError: The split does not fit the posts.
        """
        split = parse_split(name, self.posts, seed=seed)
        indices = _indices(split, self.training_data.features.post_ids)
        device = self.training_data.labels.device
        train, val = indices["train"].to(device), indices["val"].to(device)
        return replace(
            self,
            data=replace(self.data, split=name),
            split=split,
            protocol=protocol_tag(self.posts, split),
            training_data=replace(self.training_data, train=train, val=val),
            indices=indices,
        )

    def without_test(self) -> "Experiment":
        """The same experiment without its test posts, for choices that must not see them."""
        parts = {i: part for i, part in self.split.parts.items() if part != TEST}
        return replace(
            self,
            split=replace(self.split, parts=parts),
            indices=self.indices | {TEST: self.indices[TEST][:0]},
            left_out=tuple(i for i in self.left_out if i in parts),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Posts of each part that are trained, selected or tested on."""
        return {part: len(index) for part, index in self.indices.items()}

    def remarks(self) -> list[str]:
        """Lines printed before training: caches, protocol, posts."""
        lines = [f"{m}: {' + '.join(str(file.path) for file in f)}" for m, f in self.files.items()]
        sizes = ", ".join(f"{count:,} {part}" for part, count in self.sizes.items())
        lines.append(f"{self.protocol}: {sizes}")
        if self.posts.published is not None and self.data.split.startswith("random"):
            lines.append("the published split is not used: --split published")
        if isinstance(self.training_data.features, StreamedFeatures):
            lines.append("token states are streamed from the disk: they do not fit into memory")
        lines += self._layer_remarks()
        if self.left_out:
            lines.append(f"left out, as an extraction skipped them: {len(self.left_out):,}")
        return lines

    def _layer_remarks(self) -> list[str]:
        """Lines about caches whose layers differ from the requested mix."""
        mix, lines = self.caches.features.layer_mix, []
        for file in (file for files in self.files.values() for file in files):
            name, layers = file.header.fingerprint.backbone, file.header.layers
            if layers > 1 and mix is LayerMix.LAST:
                lines.append(f"{name}: the last of its {layers} cached layers is read")
            elif layers > 1:
                lines.append(f"{name}: {layers} layers, mixed by {mix}")
            elif mix is not LayerMix.LAST:
                pooled = file.header.fingerprint.keep is Keep.POOLED
                only = "pooled vectors are" if pooled else "its last layer is"
                lines.append(f"{name}: only {only} cached: nothing to mix")
        return lines


def needs_of(heads: Iterable[str]) -> set[Field]:
    """All features that some heads declare."""
    return {need for name in heads for need in HEADS.load(name).needs}


def prepare_heads(
    data: DataChoice,
    caches: CacheChoice,
    heads: Sequence[str],
    split_seed: int | None = None,
    without: Collection[str] = (),
) -> Experiment:
    """Prepares what some heads declare, see ``prepare``.

    Raises:
        MvsaError: From ``prepare`` and ``naming_heads``.
    """
    with naming_heads(heads):
        return prepare(data, caches, needs_of(heads), split_seed, without)


def prepare(
    data: DataChoice,
    caches: CacheChoice,
    needs: Iterable[Field],
    split_seed: int | None = None,
    without: Collection[str] = (),
) -> Experiment:
    """Reads and splits the posts, and loads their features from the newest matching caches.

    Args:
        data: The posts and their split.
        caches: Their features.
        needs: The features to load.
        split_seed: Seed of a random split; by default that of ``data``.
        without: Further posts to leave out.

    Raises:
        DataError: The posts cannot be read.
        SplitError: The split does not fit them.
        CacheError: A cache is missing, stale, damaged, or lacks posts.
        ConfigError: The same cache is named twice, or no cache has layers to mix.
    """
    wanted = set(needs)
    posts, split = read_and_split(data, split_seed)
    data = replace(data, split=resolved_split(data.split, posts))
    chosen = chosen_files(caches, data, posts, split, wanted)
    refuse_single_layers(chosen.files, caches.features.layer_mix)
    skipped = chosen.skipped | set(without)
    return experiment_of(data, caches, posts, split, chosen.files, wanted, skipped)


def experiment_of(
    data: DataChoice,
    caches: CacheChoice,
    posts: PostSet,
    split: Split,
    files: dict[Modality, tuple[FeatureFile, ...]],
    needs: Iterable[Field],
    without: Collection[str] = (),
) -> Experiment:
    """Loads the features of posts that were read and split, from chosen caches.

    Args:
        data: The choice of posts, for records.
        caches: How features are read.
        posts: The posts.
        split: Their split.
        files: The caches of each modality.
        needs: The features to load.
        without: Posts of the split to leave out.

    Raises:
        CacheError: A cache is damaged, or lacks posts.
    """
    ids, left_out = _usable_ids(posts, split, without)
    limit = caches.memory_gib * 2**30 or free_memory_bytes() / 2
    features = load(files, ids, set(needs), len(posts.classes), caches.features, limit)
    training_data, indices = training_data_of(posts, split, features)
    return Experiment(
        data=data,
        caches=caches,
        posts=posts,
        split=split,
        protocol=protocol_tag(posts, split),
        files=files,
        training_data=training_data,
        indices=indices,
        left_out=left_out,
    )


def read_and_split(data: DataChoice, split_seed: int | None = None) -> tuple[PostSet, Split]:
    """The posts and their split; ``split_seed`` overrides the seed of ``data``.

    Raises:
        DataError: The posts cannot be read, or have only one class.
        SplitError: The split does not fit them, or contains posts without a label.
    """
    posts = data.posts()
    if len(posts.classes) < 2:
        raise DataError(
            "These posts have only one class",
            where=posts.storage.root,
            expected="two classes or more",
            found=", ".join(posts.classes),
            hint="mvsa data check shows the labels; --label-column names another column",
        )
    seed = data.split_seed if split_seed is None else split_seed
    split = parse_split(data.split, posts, seed=seed)
    _refuse_unlabelled(posts, split)
    return posts, split


def training_data_of(
    posts: PostSet, split: Split, features: FeatureSource
) -> tuple[TrainingData, dict[str, torch.Tensor]]:
    """Features with their labels and texts, and the indices of each part's posts among them."""
    labels = {post.id: posts.classes.index(post.label) for post in posts.posts if post.label}
    indices = _indices(split, features.post_ids)
    known = torch.tensor([labels[i] for i in features.post_ids], dtype=torch.int64)
    texts = texts_of(posts, features.post_ids)
    train, val = indices["train"], indices["val"]
    return TrainingData(features, known, train, val, posts.classes, texts), indices


def texts_of(posts: PostSet, ids: Iterable[str]) -> tuple[str, ...]:
    """Texts of some posts by id; empty for posts without text."""
    every = {post.id: post.text or "" for post in posts.posts}
    return tuple(every[post_id] for post_id in ids)


def _cache_records(files: Sequence[FeatureFile]) -> dict[str, Any] | list[dict[str, Any]]:
    """One record, or a list of them where backbones are joined."""
    records = [_cache_record(file) for file in files]
    return records[0] if len(records) == 1 else records


def _cache_record(file: FeatureFile) -> dict[str, Any]:
    return {
        "path": str(file.path.resolve()),
        "digest": file.header.fingerprint.digest,
        "fingerprint": file.header.fingerprint.to_json(),
        "backbone": file.header.notes.get("backbone"),
    }


def _indices(split: Split, ids: Sequence[str]) -> dict[str, torch.Tensor]:
    """Indices of each part's posts among the loaded posts."""
    places = {post_id: n for n, post_id in enumerate(ids)}
    return {
        part: torch.tensor([places[i] for i in split.ids(part) if i in places], dtype=torch.int64)
        for part in PARTS
    }


def _refuse_unlabelled(posts: PostSet, split: Split) -> None:
    unlabelled = [p.id for p in posts.posts if p.id in split.parts and p.label is None]
    if unlabelled:
        raise SplitError(
            f"{len(unlabelled):,} posts of the split have no label",
            where=protocol_tag(posts, split),
            found=name_some(unlabelled),
            hint="leave them out of the split; mvsa predict accepts posts without labels",
        )


def _usable_ids(
    posts: PostSet, split: Split, skipped: Collection[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Posts of the split in the data set's order, separated into usable and skipped posts."""
    in_split = [post.id for post in posts.posts if post.id in split.parts]
    return [i for i in in_split if i not in skipped], tuple(i for i in in_split if i in skipped)
