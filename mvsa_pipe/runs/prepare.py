"""Posts, split and caches joined into what heads are trained and scored on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.serving import Held, best_of, serving, unreadable
from mvsa_pipe.devices import free_memory_bytes
from mvsa_pipe.errors import CacheError, ConfigError, DataError, SplitError, name_some
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.load import FeatureOptions, load
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.features.streamed import StreamedFeatures
from mvsa_pipe.heads import HEADS
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, Split, parse_split, protocol_tag, read_posts
from mvsa_pipe.posts.contents import ContentDigests, content_digests
from mvsa_pipe.posts.split import PARTS
from mvsa_pipe.posts.splits import resolved_split
from mvsa_pipe.runs import Member, split_table
from mvsa_pipe.runs.layout import CONTENT_DIGITS
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.material import Material


@dataclass(frozen=True)
class Chosen:
    """The caches that an experiment reads.

    Attributes:
        files: Those of each modality, in the order in which they are joined.
        skipped: Posts of the split that an extraction could not read.
    """

    files: dict[Modality, tuple[FeatureFile, ...]]
    skipped: set[str]


def chosen_files(
    caches: CacheChoice, data: DataChoice, posts: PostSet, split: Split, needs: Iterable[Field]
) -> Chosen:
    """The newest caches of each modality with declared features that hold the split's posts.

    Args:
        caches: Which backbones' caches.
        data: Where the posts came from, for messages.
        posts: The posts.
        split: Which of them are read.
        needs: The declared features.

    Raises:
        CacheError: There is no such cache, it is damaged, or all that there are lack posts or
            hold other contents of them.
        ConfigError: The same cache is named twice.
    """
    folder, modalities = CacheFolder(caches.folder), {need.modality for need in needs}
    found = Chosen({}, set())
    for modality in Modality:
        if modality in modalities:
            wanted = content_digests(posts, modality, caches.folder).among(split.parts)
            files = _chosen(folder, data, posts.name, modality, caches, wanted)
            found.files[modality] = files
            found.skipped.update(*(Held.in_file(file).unserved(wanted) for file in files))
    return found


def _chosen(
    folder: CacheFolder,
    data: DataChoice,
    dataset: str,
    modality: Modality,
    caches: CacheChoice,
    wanted: ContentDigests,
) -> tuple[FeatureFile, ...]:
    names = caches.names_of(modality)
    several = caches.layer_mix is not LayerMix.LAST
    files = []
    for name in names:
        fitting = folder.fitting(dataset, modality, name, several_layers=several)
        file = serving(fitting, wanted)
        if file is None:  # unless what they lack cannot be read, as another extraction found
            file = serving(fitting, wanted, unreadable(folder.readable(dataset)[0], wanted))
        if file is None:
            raise _none_serves(fitting, wanted, data)
        files.append(file)
    if len({file.path for file in files}) < len(files):
        raise ConfigError(
            f"--{modality} names the same cache twice",
            expected="different ones; NAME@DIGITS tells two of one backbone apart",
            found=" + ".join(f"{n}: {f.path.name}" for n, f in zip(names, files, strict=True)),
            hint="mvsa cache list",
        )
    return tuple(files)


def _none_serves(
    fitting: Sequence[FeatureFile], wanted: ContentDigests, data: DataChoice
) -> CacheError:
    file, gap = best_of(fitting, wanted)
    fingerprint = file.header.fingerprint
    found = []
    if gap.lacking:
        found.append(f"it lacks {count_of(gap.lacking, 'post')}: {name_some(gap.lacking)}")
    if gap.stale:
        found.append(
            f"the {fingerprint.modality} of {count_of(gap.stale, 'post')} is not what was "
            f"extracted: {name_some(gap.stale)}"
        )
    others = len(fitting) - 1
    more = f"; {others:,} other caches of this name lack more" if others else ""
    return CacheError(
        f"The {fingerprint.modality} features of these posts are not cached, or not all of them",
        where=file.path,
        expected=f"all {len(wanted):,} posts of the split, as they are now",
        found=f"{'; '.join(found)}{more}",
        hint=f"mvsa extract --data {data.path} --backbone {fingerprint.backbone} extracts what "
        "is missing",
    )


def count_of(some: Sequence[object], what: str) -> str:
    """``1 post``, ``4,000 posts``."""
    return f"{len(some):,} {what}{'' if len(some) == 1 else 's'}"


def refuse_single_layers(files: Mapping[Modality, Sequence[FeatureFile]], mix: LayerMix) -> None:
    """Refuses a mixing of layers where every cache holds its last layer alone.

    Raises:
        ConfigError: It is so.
    """
    every = [file for of_it in files.values() for file in of_it]
    if mix is LayerMix.LAST or any(file.header.layers > 1 for file in every):
        return
    raise ConfigError(
        f"--layer-mix {mix} needs a cache of several layers",
        expected="one that was extracted with --layers last4 or --layers all",
        found=name_some(f"{file.path.name} with its last layer alone" for file in every),
        hint="mvsa extract --layers last4 --backbone NAME",
    )


@dataclass(frozen=True)
class Experiment:
    """Everything that heads are trained and scored on, loaded once for any number of them.

    Attributes:
        data: Where the posts came from.
        caches: Where the features came from.
        posts: The posts.
        split: Their split.
        protocol: The protocol tag.
        files: The caches of each modality, in the order in which they are joined.
        material: What heads are trained on.
        indices: Indices of the posts of each part.
        left_out: Labelled posts of the split without features, as their extraction skipped them.
    """

    data: DataChoice
    caches: CacheChoice
    posts: PostSet
    split: Split
    protocol: str
    files: dict[Modality, tuple[FeatureFile, ...]]
    material: Material
    indices: dict[str, torch.Tensor]
    left_out: tuple[str, ...]

    @property
    def backbones(self) -> dict[str, str]:
        """The backbone's name of each modality; those that are joined stand as ``A+B``."""
        return {
            modality.value: "+".join(file.header.fingerprint.backbone for file in files)
            for modality, files in self.files.items()
        }

    def feature_records(self) -> dict[str, Any]:
        """Where the features of each modality came from, for a run's record."""
        return {m.value: _cache_records(files) for m, files in self.files.items()}

    def contents(self) -> dict[Modality, dict[str, str]]:
        """Digest of what is read of each half of every post, by its id."""
        return {m: files[0].header.content_digests for m, files in self.files.items()}

    @cached_property
    def split_csv(self) -> bytes:
        """The ``split.csv`` of every run: where each post belongs, and digests of what is read."""
        labels = {post.id: post.label or "" for post in self.posts.posts}
        contents, left_out = self.contents(), set(self.left_out)
        members = []
        for i, part in self.split.parts.items():
            read = {m: of[i][:CONTENT_DIGITS] for m, of in contents.items() if i in of}
            members.append(Member(i, part, labels[i], {} if i in left_out else read))
        return split_table(members)

    def labels_of(self, part: str) -> NDArray[np.int64]:
        """True class of every post of a part."""
        return self.material.labels.cpu()[self.indices[part]].numpy()

    def placed(self, device: torch.device) -> "Experiment":
        """The same experiment with its material on a device, if the device has room for it."""
        return replace(self, material=self.material.placed(device))

    def read_by(self, head: str) -> "Experiment":
        """The same experiment with those caches alone that a head reads."""
        read = {need.modality for need in needs_of([head])}
        return replace(self, files={m: files for m, files in self.files.items() if m in read})

    def split_again(self, seed: int) -> "Experiment":
        """The same posts and features under another random split.

        Raises:
            SplitError: The split does not fit the posts.
        """
        split = parse_split(self.data.split, self.posts, seed=seed)
        indices = _indices(split, self.material.features.post_ids)
        device = self.material.labels.device
        train, val = indices["train"].to(device), indices["val"].to(device)
        return replace(
            self,
            split=split,
            protocol=protocol_tag(self.posts, split),
            material=replace(self.material, train=train, val=val),
            indices=indices,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Posts of each part that are trained, selected or tested on."""
        return {part: len(index) for part, index in self.indices.items()}

    def remarks(self) -> list[str]:
        """What a user shall know before heads are trained: caches, protocol, posts."""
        lines = [f"{m}: {' + '.join(str(file.path) for file in f)}" for m, f in self.files.items()]
        sizes = ", ".join(f"{count:,} {part}" for part, count in self.sizes.items())
        lines.append(f"{self.protocol}: {sizes}")
        if self.posts.published is not None and self.data.split.startswith("random"):
            lines.append("the split that the data set comes with is not used: --split published")
        if isinstance(self.material.features, StreamedFeatures):
            lines.append("token states are streamed from the disk: memory has no room for them")
        lines += self._layer_remarks()
        if self.left_out:
            lines.append(f"left out, as an extraction skipped them: {len(self.left_out):,}")
        return lines

    def _layer_remarks(self) -> list[str]:
        """What is read of caches that do not hold just the layers asked for."""
        mix, lines = self.caches.layer_mix, []
        for file in (file for files in self.files.values() for file in files):
            name, layers = file.header.fingerprint.backbone, file.header.layers
            if layers > 1 and mix is LayerMix.LAST:
                lines.append(f"{name}: the last of its {layers} cached layers is read")
            elif layers > 1:
                lines.append(f"{name}: {layers} layers, mixed by {mix}")
            elif mix is not LayerMix.LAST:
                lines.append(f"{name}: its last layer alone is cached, and there is nothing to mix")
        return lines


def needs_of(heads: Iterable[str]) -> set[Field]:
    """All features that some heads declare."""
    return {need for name in heads for need in HEADS.load(name).needs}


def prepare(
    data: DataChoice,
    caches: CacheChoice,
    needs: Iterable[Field],
    split_seed: int | None = None,
    without: Collection[str] = (),
) -> Experiment:
    """Reads and splits the posts and loads the declared features from the newest fitting caches.

    Args:
        data: The posts and their split.
        caches: Their features.
        needs: The features to load.
        split_seed: Seed of a random split, if not the one that ``data`` names.
        without: Posts that shall be left out, as those are that an extraction skipped.

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
    files = chosen.files
    refuse_single_layers(files, caches.layer_mix)
    ids, left_out = _usable_ids(posts, split, chosen.skipped | set(without))
    limit = caches.memory_gib * 2**30 or free_memory_bytes() / 2
    options = FeatureOptions(caches.image_grid, caches.layer_mix)
    features = load(files, ids, wanted, len(posts.classes), options, limit)
    material, indices = material_of(posts, split, features)
    return Experiment(
        data=data,
        caches=caches,
        posts=posts,
        split=split,
        protocol=protocol_tag(posts, split),
        files=files,
        material=material,
        indices=indices,
        left_out=left_out,
    )


def read_and_split(data: DataChoice, split_seed: int | None = None) -> tuple[PostSet, Split]:
    """The posts and their split; its seed may be another than the choice's own.

    Raises:
        DataError: The posts cannot be read, or have one class alone.
        SplitError: The split does not fit them, or names posts without a label.
    """
    posts = read_posts(data.path, data.read)
    if len(posts.classes) < 2:
        raise DataError(
            "Posts of one class leave a head nothing to learn",
            where=data.path,
            expected="two classes or more",
            found=", ".join(posts.classes),
            hint="mvsa data check shows the labels; --label-column names another column",
        )
    seed = data.split_seed if split_seed is None else split_seed
    split = parse_split(data.split, posts, seed=seed)
    _refuse_unlabelled(posts, split)
    return posts, split


def material_of(
    posts: PostSet, split: Split, features: FeatureSource
) -> tuple[Material, dict[str, torch.Tensor]]:
    """Features with their labels and texts, and the indices of each part's posts among them."""
    labels = {post.id: posts.classes.index(post.label) for post in posts.posts if post.label}
    indices = _indices(split, features.post_ids)
    known = torch.tensor([labels[i] for i in features.post_ids], dtype=torch.int64)
    texts = texts_of(posts, features.post_ids)
    train, val = indices["train"], indices["val"]
    return Material(features, known, train, val, posts.classes, texts), indices


def texts_of(posts: PostSet, ids: Iterable[str]) -> tuple[str, ...]:
    """Texts of some posts, by id; empty where a post has none."""
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
    """Where the posts of each part stand among the loaded ones."""
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
            hint="leave them out of the split; mvsa predict takes posts without labels",
        )


def _usable_ids(
    posts: PostSet, split: Split, skipped: Collection[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Posts of the split, in the data set's order, but those that are skipped; and those."""
    in_split = [post.id for post in posts.posts if post.id in split.parts]
    return [i for i in in_split if i not in skipped], tuple(i for i in in_split if i in skipped)
