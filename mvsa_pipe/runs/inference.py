"""Applies a run's head to posts: over cached features of a data set, or over posts in memory."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.matching import CacheContent
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.in_memory import (
    POSTS_ENCODED_TOGETHER,
    ContentsByModality,
    Forwards,
    encode,
)
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.features.absent import with_absent
from mvsa_pipe.features.batch import Field, reads_states
from mvsa_pipe.features.load import Files, load
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.heads.own import recorded_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import Post, PostSet, ReadOptions
from mvsa_pipe.posts.contents import Content, UnreadablePostsError, contents_of
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import is_tuned, options_of, records_of
from mvsa_pipe.runs.forwards import feature_options, load_forwards
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.own_posts import reading_only
from mvsa_pipe.runs.prepare import texts_of
from mvsa_pipe.training.scoring import predict_probabilities


@dataclass(frozen=True)
class PostProbabilities:
    """Probabilities of a head for some posts.

    Attributes:
        ids: The posts that every backbone could read, in order.
        probabilities: ``[N, C]``, in the order of ``ids``.
        faults: Errors of the other posts, by id.
        alone: The half from which a post was predicted that lacks the other, by id.
    """

    ids: tuple[str, ...]
    probabilities: NDArray[np.float32]
    faults: dict[str, str]
    alone: dict[str, Modality] = field(default_factory=dict)


def predict_contents(
    head: Model,
    contents: ContentsByModality,
    backbones: Forwards,
    options: FeatureOptions,
    progress: Progress,
    texts: Mapping[str, str],
    decode: Decode = Decode.AUTO,
) -> PostProbabilities:
    """Encodes posts and applies a head to them, in batches that bound memory.

    Args:
        head: The head or baseline.
        contents: Content of every post, by modality; the same posts in the same order. Of a head
            that answers posts of one half, that half alone.
        backbones: The backbones of each modality.
        options: How the head reads image tokens and layers.
        progress: Notified of posts.
        texts: Texts of all posts by id, for models that read them.
        decode: How pictures become pixels.

    Raises:
        MvsaError: From ``encode`` or ``predict_probabilities``.
    """
    classes, count = head.sizes.classes, len(next(iter(contents.values())))
    ids: list[str] = []
    blocks = [np.zeros((0, classes), np.float32)]
    faults: dict[str, str] = {}
    for start in range(0, count, POSTS_ENCODED_TOGETHER):
        stop = start + POSTS_ENCODED_TOGETHER
        some = {modality: items[start:stop] for modality, items in contents.items()}
        there = {modality: backbones[modality] for modality in some}
        needs = [need for need in head.needs if need.modality in some]
        encoded = encode(some, there, needs, classes, options, progress, decode)
        faults |= encoded.faults
        readable = encoded.features.post_ids
        if readable:
            features = with_absent(encoded.features, head.needs, head.sizes, some)
            features = features.to(head.device)
            every = torch.arange(len(readable), device=head.device)
            own = [texts[post_id] for post_id in readable] if head.reads_texts else None
            blocks.append(predict_probabilities(head, features, every, own))
            ids += readable
    return PostProbabilities(tuple(ids), np.concatenate(blocks), faults)


def load_head(run: Run, device: str, progress: Progress, head: str | None = None) -> Model:
    """A run's trained head or baseline.

    Args:
        run: The run.
        device: Where it computes.
        progress: Notified if the class of a user's own head has changed.
        head: Class of a user's own head, as typed; by default the recorded one.

    Raises:
        ConfigError: Another head was named than the run's.
        RunError: The checkpoint is missing, damaged, not finite, or of another head; or the class
            of a user's own head cannot be loaded.
    """
    kind, remark = recorded_head(run.config, run.path, head)
    if remark:
        progress.say(remark)
    data, where = run.checkpoint(kind.file), run.path / kind.file
    return kind.load(run.config, data, where, resolve_device(device))


def only_read(run: Run, read: ReadOptions) -> ReadOptions:
    """Options that require only the modalities that a run's head reads."""
    return reading_only(read, [Modality(name) for name in run.config["caches"]])


def predict_data_set(
    run: Run,
    head: Model,
    posts: PostSet,
    ids: Sequence[str],
    options: InferenceOptions,
    progress: Progress,
    intact: Mapping[Modality, PostSet] | None = None,
) -> PostProbabilities:
    """Applies a run's head to posts of a data set, with cached features.

    Missing features of the whole data set are extracted first. Features of fine-tuned backbones
    are not read by other runs: they are computed in memory, for these posts only;
    ``mvsa extract --from RUN`` caches them.

    Args:
        run: The run.
        head: Its head.
        posts: The data set.
        ids: Its posts that are predicted, in order.
        options: Where features are kept, and where the head computes.
        progress: Notified of extractions.
        intact: For posts of which one modality was changed: data sets with the same posts, whose
            features of the other modalities are read.

    Raises:
        UnreadablePostsError: Posts cannot be read, and none may be skipped.
        CacheError: The backbone's weights have changed since the run was trained.
        MvsaError: From ``extract`` or ``encode``.
    """
    wanted = set(ids)
    if is_tuned(run):
        return _in_order(_predict_tuned(run, head, _some(posts, wanted), options, progress), ids)
    files, faults = files_of_run(run, head.needs, posts, wanted, options, progress, intact)
    usable = [post_id for post_id in ids if post_id not in faults]
    return PostProbabilities(tuple(usable), _from_files(run, head, files, posts, usable), faults)


def files_of_run(
    run: Run,
    needs: Collection[Field],
    posts: PostSet,
    ids: Collection[str],
    options: InferenceOptions,
    progress: Progress,
    intact: Mapping[Modality, PostSet] | None = None,
) -> tuple[dict[Modality, tuple[FeatureFile, ...]], dict[str, str]]:
    """Caches with a run's fingerprints, in the run's order; missing features are extracted first.

    Args:
        run: The run.
        needs: The features that its head reads.
        posts: The data set.
        ids: Those of its posts that the caches must contain.
        options: Where caches are, and how posts are extracted.
        progress: Notified of extractions.
        intact: As of ``predict_data_set``.

    Returns:
        The caches of each modality, and the errors of posts that could not be read, by id.

    Raises:
        UnreadablePostsError: Posts cannot be read, and none may be skipped.
        CacheError: The backbone's weights have changed since the run was trained.
        MvsaError: From ``extract``.
    """
    files: dict[Modality, tuple[FeatureFile, ...]] = {}
    faults: dict[str, str] = {}
    for modality in map(Modality, run.config["caches"]):
        own = (intact or {}).get(modality, posts)
        requested = _some(own, ids)
        for record in records_of(run, modality):
            file, found = _file_for(run, needs, modality, record, own, requested, options, progress)
            files[modality] = (*files.get(modality, ()), file)
            faults |= {i: fault for i, fault in found.items() if i in ids and i not in faults}
    return files, faults


def _some(posts: PostSet, ids: Container[str]) -> PostSet:
    return replace(posts, posts=tuple(post for post in posts.posts if post.id in ids))


def _predict_tuned(
    run: Run, head: Model, posts: PostSet, options: InferenceOptions, progress: Progress
) -> PostProbabilities:
    answered = predict_posts(run, head, posts, options, progress)
    if answered.faults and options.on_bad_post is BadPostPolicy.ERROR:
        raise UnreadablePostsError(answered.faults, posts.storage.root)
    return answered


def _in_order(answered: PostProbabilities, ids: Sequence[str]) -> PostProbabilities:
    places = {post_id: place for place, post_id in enumerate(answered.ids)}
    order = [places[post_id] for post_id in ids if post_id in places]
    return replace(
        answered,
        ids=tuple(answered.ids[place] for place in order),
        probabilities=answered.probabilities[order],
    )


def predict_posts(
    run: Run, head: Model, posts: PostSet, options: InferenceOptions, progress: Progress
) -> PostProbabilities:
    """Applies a run's head to any posts; writes no file, and skips unreadable posts.

    Features are read from caches if these contain all posts as they are now, and computed in
    memory otherwise.

    Raises:
        CacheError: A cache is damaged, or the backbone's weights have changed since the run was
            trained.
        MvsaError: From ``load_forwards`` or ``encode``.
    """
    read = tuple(map(Modality, run.config["caches"]))
    groups = [(read, posts)]
    if answers_one_half(run.config["training"], head):
        groups = _by_halves(posts, read)
    answered = [
        _predict_group(run, head, some, halves, options, progress) for halves, some in groups
    ]
    joined = PostProbabilities(
        tuple(i for one in answered for i in one.ids),
        np.concatenate([one.probabilities for one in answered]),
        {i: fault for one in answered for i, fault in one.faults.items()},
        {i: half for one in answered for i, half in one.alone.items()},
    )
    return _in_order(joined, [post.id for post in posts.posts])


def answers_one_half(training: Mapping[str, Any], head: Model) -> bool:
    """Whether a head that reads both halves of a post was trained to do without one.

    Args:
        training: Its recorded options of training.
        head: The head.
    """
    halves = {need.modality for need in head.needs}
    trained = isinstance(head, FusionHead) and bool(training.get("modality_dropout"))
    return trained and len(halves) == len(Modality)


def _by_halves(
    posts: PostSet, read: tuple[Modality, ...]
) -> list[tuple[tuple[Modality, ...], PostSet]]:
    """Posts by the halves that they have; those with neither are among those with both."""
    groups: dict[tuple[Modality, ...], list[Post]] = {read: []}
    for post in posts.posts:
        has = {Modality.TEXT: post.text is not None, Modality.IMAGE: post.image is not None}
        there = tuple(modality for modality in read if has[modality])
        groups.setdefault(there or read, []).append(post)
    return [(halves, replace(posts, posts=tuple(some))) for halves, some in groups.items()]


def _predict_group(
    run: Run,
    head: Model,
    posts: PostSet,
    halves: Sequence[Modality],
    options: InferenceOptions,
    progress: Progress,
) -> PostProbabilities:
    """Applies a run's head to posts that have the same halves."""
    contents, faults = readable_contents(posts, halves)
    if not any(contents.values()):
        return PostProbabilities((), np.zeros((0, head.sizes.classes), np.float32), faults)
    lone = dict.fromkeys((p.id for p in posts.posts), halves[0]) if len(halves) == 1 else {}
    alone = lone if len(run.config["caches"]) > 1 else {}
    found = None if is_tuned(run) else _cached(run, head, posts.name, contents, options)
    if found is None:
        answered = _encoded(run, head, posts, contents, options, progress)
        return replace(answered, faults=faults | answered.faults, alone=alone)
    files, refused = found
    every = next(iter(contents.values()))
    ids = [item.id for item in every if item.id not in refused]
    return PostProbabilities(
        tuple(ids), _from_files(run, head, files, posts, ids), faults | refused, alone
    )


def readable_contents(
    posts: PostSet, halves: Iterable[Modality]
) -> tuple[ContentsByModality, dict[str, str]]:
    """Some halves of every post, and errors of posts without them."""
    found: dict[Modality, list[Content]] = {}
    faults: dict[str, str] = {}
    for modality in halves:
        found[modality], lacking = contents_of(posts, modality)
        faults = lacking | faults
    contents = {m: [item for item in items if item.id not in faults] for m, items in found.items()}
    return contents, faults


def _encoded(
    run: Run,
    head: Model,
    posts: PostSet,
    contents: ContentsByModality,
    options: InferenceOptions,
    progress: Progress,
) -> PostProbabilities:
    backbones = load_forwards(run, options.device, progress, contents)
    texts = {post.id: post.text or "" for post in posts.posts}
    how = feature_options(run)
    return predict_contents(head, contents, backbones, how, progress, texts, options.decode)


def _from_files(
    run: Run, head: Model, files: Files, posts: PostSet, ids: Sequence[str]
) -> NDArray[np.float32]:
    """Probabilities ``[N, C]`` of some cached posts, in order."""
    if not ids:
        return np.zeros((0, head.sizes.classes), np.float32)
    needs = [need for need in head.needs if need.modality in files]
    features = load(files, ids, needs, head.sizes.classes, feature_options(run))
    whole = with_absent(features, head.needs, head.sizes, files).to(head.device)
    every = torch.arange(len(ids), device=head.device)
    return predict_probabilities(head, whole, every, texts_of(posts, ids))


def _cached(
    run: Run, head: Model, dataset: str, contents: ContentsByModality, options: InferenceOptions
) -> tuple[Files, dict[str, str]] | None:
    """Caches that contain all of some posts, and the posts that their extraction refused."""
    files: dict[Modality, tuple[FeatureFile, ...]] = {}
    refused: dict[str, str] = {}
    for modality, items in contents.items():
        for record in records_of(run, modality):
            fingerprint = Fingerprint.from_json(record["fingerprint"])
            serving = serving_fingerprints(fingerprint, head.needs, modality)
            found = _file_with(serving, dataset, items, options.cache)
            if found is None:
                return None
            files[modality] = (*files.get(modality, ()), found[0])
            refused |= found[1]
    return files, refused


def serving_fingerprints(
    fingerprint: Fingerprint, needs: Collection[Field], modality: Modality
) -> tuple[Fingerprint, ...]:
    """Fingerprints of caches with what a head reads of a run's features, the run's own first."""
    states = reads_states(needs, modality)
    return (fingerprint,) if states else fingerprint.with_same_vectors


def _file_with(
    serving: Sequence[Fingerprint], dataset: str, items: Sequence[Content], cache: Path
) -> tuple[FeatureFile, dict[str, str]] | None:
    """A cache with current features of some posts, and the posts that it could not read.

    Raises:
        CacheError: It is damaged, or its features do not match its name.
    """
    digests = {item.id: item.digest for item in items}
    folder = CacheFolder(cache)
    named = [(each, path) for each in serving for path in folder.of_fingerprint(dataset, each)]
    for fingerprint, path in named:
        if path.is_file():
            file = FeatureFile(path)
            fingerprint.require(file.header.fingerprint, path)
            content = CacheContent.in_file(file)
            if content.covers(digests):
                return file, {
                    i: content.refused[i].reason for i in digests if i not in content.digests
                }
    return None


def _file_for(
    run: Run,
    needs: Collection[Field],
    modality: Modality,
    record: Mapping[str, Any],
    posts: PostSet,
    requested: PostSet,
    options: InferenceOptions,
    progress: Progress,
) -> tuple[FeatureFile, dict[str, str]]:
    """A cache of a data set that contains the requested posts; missing posts are extracted."""
    fingerprint = Fingerprint.from_json(record["fingerprint"])
    contents, faults = contents_of(requested, modality, options.cache)
    skips = options.on_bad_post is BadPostPolicy.SKIP
    serving = serving_fingerprints(fingerprint, needs, modality)
    found = _file_with(serving, posts.name, contents, options.cache)
    if found is not None and (skips or not faults | found[1]):
        return found[0], faults | found[1]
    fingerprint = fingerprint.renewed
    paths = CacheFolder(options.cache).of_fingerprint(posts.name, fingerprint)
    fingerprint.require_makeable(paths[0] if paths else options.cache)
    extraction = extract(
        posts,
        options_of(run, modality, record),
        ExtractOptions(
            cache=options.cache,
            device=options.device,
            precision=fingerprint.arithmetic,
            dtype=fingerprint.dtype,
            keep=fingerprint.keep,
            decode=options.decode,
            on_bad_post=options.on_bad_post,
        ),
        progress,
    )
    fingerprint.require(extraction.file.header.fingerprint, extraction.file.path)
    return extraction.file, extraction.skipped
