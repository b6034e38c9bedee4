"""Applies a run's head to posts: over cached features of a data set, or over posts in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.in_memory import ContentsByModality
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.features.load import load
from mvsa_pipe.heads.model import Model
from mvsa_pipe.heads.own import recorded_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, ReadOptions
from mvsa_pipe.posts.contents import Content, UnreadablePostsError, contents_of
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import is_tuned, options_of, records_of
from mvsa_pipe.runs.encoding import (
    PostProbabilities,
    answer_contents,
    feature_options,
    load_forwards,
)
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.prepare import texts_of
from mvsa_pipe.training.scoring import predict_probabilities

Files = dict[Modality, tuple[FeatureFile, ...]]


def load_head(run: Run, device: str, progress: Progress, head: str | None = None) -> Model:
    """A run's trained head or baseline.

    Args:
        run: The run.
        device: Where it computes.
        progress: Is told where the head's class is not what it was.
        head: The class of an own head, as the user names it; ``None`` takes the recorded one.

    Raises:
        ConfigError: Another head was named than the run's.
        RunError: The checkpoint is missing, damaged, not finite, or belongs to another head; or
            the class of an own head cannot be had.
    """
    kind, remark = recorded_head(run.config, run.path, head)
    if remark:
        progress.say(remark)
    data, where = run.checkpoint(kind.file), run.path / kind.file
    return kind.load(run.config, data, where, resolve_device(device))


def only_read(run: Run, read: ReadOptions) -> ReadOptions:
    """Options under which posts need only the halves that a run's head reads."""
    halves = run.config["caches"]
    return replace(
        read,
        read_text=Modality.TEXT.value in halves,
        read_image=Modality.IMAGE.value in halves,
    )


def answer_data_set(
    run: Run,
    head: Model,
    posts: PostSet,
    ids: Sequence[str],
    options: InferenceOptions,
    progress: Progress,
) -> PostProbabilities:
    """Applies a run's head to posts of a data set, whose features are kept in caches.

    What the caches lack is extracted first, along with the rest of the data set. Features of
    fine-tuned backbones, which no other run reads, are computed in memory, of these posts alone;
    ``mvsa extract --from RUN`` keeps them.

    Raises:
        UnreadablePostsError: Posts cannot be read, and none may be skipped.
        CacheError: The backbone's weights are no longer those that the run was trained on.
        MvsaError: As ``extract`` and ``encode``.
    """
    wanted = set(ids)
    asked = replace(posts, posts=tuple(post for post in posts.posts if post.id in wanted))
    if is_tuned(run):
        return _in_order(_answer_tuned(run, head, asked, options, progress), ids)
    files: Files = {}
    faults: dict[str, str] = {}
    for modality in map(Modality, run.config["caches"]):
        for record in records_of(run, modality):
            file, found = _file_for(run, modality, record, posts, asked, options, progress)
            files[modality] = (*files.get(modality, ()), file)
            faults |= {i: fault for i, fault in found.items() if i in wanted and i not in faults}
    usable = [post_id for post_id in ids if post_id not in faults]
    return PostProbabilities(tuple(usable), _from_files(run, head, files, posts, usable), faults)


def _answer_tuned(
    run: Run, head: Model, posts: PostSet, options: InferenceOptions, progress: Progress
) -> PostProbabilities:
    answered = answer_new_posts(run, head, posts, options, progress)
    if answered.faults and options.on_bad_post is BadPostPolicy.ERROR:
        raise UnreadablePostsError(answered.faults, posts.storage.root)
    return answered


def _in_order(answered: PostProbabilities, ids: Sequence[str]) -> PostProbabilities:
    places = {post_id: place for place, post_id in enumerate(answered.ids)}
    order = [places[post_id] for post_id in ids if post_id in places]
    return PostProbabilities(
        tuple(answered.ids[place] for place in order),
        answered.probabilities[order],
        answered.faults,
    )


def answer_new_posts(
    run: Run, head: Model, posts: PostSet, options: InferenceOptions, progress: Progress
) -> PostProbabilities:
    """Applies a run's head to any posts; writes no file, and leaves out what cannot be read.

    Caches that contain all of these posts as they are now are read; else features are computed in
    memory.

    Raises:
        CacheError: A cache is damaged, or the backbone's weights are no longer those that the run
            was trained on.
        MvsaError: As ``load_forwards`` and ``encode``.
    """
    contents, faults = readable_contents(run, posts)
    if not any(contents.values()):
        return PostProbabilities((), np.zeros((0, head.sizes.classes), np.float32), faults)
    found = None if is_tuned(run) else _cached(run, posts.name, contents, options)
    if found is None:
        answered = _encoded(run, head, posts, contents, options, progress)
        return replace(answered, faults=faults | answered.faults)
    files, refused = found
    every = next(iter(contents.values()))
    ids = [item.id for item in every if item.id not in refused]
    return PostProbabilities(
        tuple(ids), _from_files(run, head, files, posts, ids), faults | refused
    )


def readable_contents(run: Run, posts: PostSet) -> tuple[ContentsByModality, dict[str, str]]:
    """What a run's backbones read of every post that has it, and what the others lack."""
    found: dict[Modality, list[Content]] = {}
    faults: dict[str, str] = {}
    for modality in map(Modality, run.config["caches"]):
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
    backbones = load_forwards(run, options.device, progress)
    texts = {post.id: post.text or "" for post in posts.posts}
    how = feature_options(run)
    return answer_contents(head, contents, backbones, how, progress, texts, options.decode)


def _from_files(
    run: Run, head: Model, files: Files, posts: PostSet, ids: Sequence[str]
) -> NDArray[np.float32]:
    """Probabilities ``[N, C]`` of some cached posts, in their order."""
    if not ids:
        return np.zeros((0, head.sizes.classes), np.float32)
    features = load(files, ids, head.needs, head.sizes.classes, feature_options(run))
    every = torch.arange(len(ids), device=head.device)
    return predict_probabilities(head, features.to(head.device), every, texts_of(posts, ids))


def _cached(
    run: Run, dataset: str, contents: ContentsByModality, options: InferenceOptions
) -> tuple[Files, dict[str, str]] | None:
    """Caches that contain all of some posts, and which of these their extraction refused."""
    files: Files = {}
    refused: dict[str, str] = {}
    for modality, items in contents.items():
        for record in records_of(run, modality):
            fingerprint = Fingerprint.from_json(record["fingerprint"])
            found = _file_with(fingerprint, dataset, items, options.cache)
            if found is None:
                return None
            files[modality] = (*files.get(modality, ()), found[0])
            refused |= found[1]
    return files, refused


def _file_with(
    fingerprint: Fingerprint, dataset: str, items: Sequence[Content], cache: Path
) -> tuple[FeatureFile, dict[str, str]] | None:
    """A cache that contains some posts as they are now, and which of them it could not read.

    Raises:
        CacheError: It is damaged, or holds other features than its name says.
    """
    for path in CacheFolder(cache).of_fingerprint(dataset, fingerprint):
        if path.is_file():
            file = FeatureFile(path)
            fingerprint.require(file.header.fingerprint, path)
            known, tried = file.header.content_digests, file.header.refused
            others = [item for item in items if known.get(item.id) != item.digest]
            if all(i.id in tried and tried[i.id].digest == i.digest for i in others):
                return file, {item.id: tried[item.id].reason for item in others}
    return None


def _file_for(
    run: Run,
    modality: Modality,
    record: Mapping[str, Any],
    posts: PostSet,
    asked: PostSet,
    options: InferenceOptions,
    progress: Progress,
) -> tuple[FeatureFile, dict[str, str]]:
    """A cache of a data set that contains the posts asked for; what it lacks is extracted."""
    fingerprint = Fingerprint.from_json(record["fingerprint"])
    contents, faults = contents_of(asked, modality, options.cache)
    skips = options.on_bad_post is BadPostPolicy.SKIP
    found = _file_with(fingerprint, posts.name, contents, options.cache)
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
            decode=options.decode,
            on_bad_post=options.on_bad_post,
        ),
        progress,
    )
    fingerprint.require(extraction.file.header.fingerprint, extraction.file.path)
    return extraction.file, extraction.skipped
