"""A run's head with its weights, and the features that it reads of any posts."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.features.load import FeatureOptions, load
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.model import Model
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, ReadOptions
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import is_tuned, options_of
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.prepare import texts_of
from mvsa_pipe.training.scoring import predict_probabilities


def load_head(run: Run, device: str) -> Model:
    """A run's trained head or baseline.

    Raises:
        RunError: The checkpoint is missing, damaged, not finite, or belongs to another head.
    """
    kind = HEADS.load(run.config["head"])
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


def head_probabilities(
    run: Run,
    head: Model,
    files: Mapping[Modality, Sequence[FeatureFile]],
    posts: PostSet,
    ids: Sequence[str],
    device: str,
) -> NDArray[np.float32]:
    """Probabilities of a head for some cached posts ``[N, C]``, in their order.

    Args:
        run: The run.
        head: Its head.
        files: Caches of the posts as they are now.
        posts: The posts, among others.
        ids: Which of them.
        device: Where to compute.
    """
    where = resolve_device(device)
    grid = int(run.config["image_grid"])
    mix = LayerMix(run.config.get("layer_mix", LayerMix.LAST))  # runs of 0.1 do not say
    options = FeatureOptions(grid, mix)
    features = load(files, ids, head.needs, head.sizes.classes, options).to(where)
    every = torch.arange(len(ids), device=where)
    return predict_probabilities(head, features, every, texts_of(posts, ids))


@dataclass(frozen=True)
class Features:
    """What a run's head reads of some posts.

    Attributes:
        files: The caches of each modality, in the order in which they are joined.
        faults: What is wrong with the posts that cannot be read, by id.
    """

    files: dict[Modality, tuple[FeatureFile, ...]]
    faults: dict[str, str]


@contextmanager
def kept_features(run: Run, options: InferenceOptions) -> Iterator[InferenceOptions]:
    """Options under which features stay in the cache, or of a fine-tuned run go again.

    Backbones of its own would fill the disk with features that no other run reads; ``mvsa extract
    --from RUN`` keeps them for whoever wants them.
    """
    if not is_tuned(run):
        yield options
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield replace(options, cache=Path(scratch))


def features_for(
    run: Run, posts: PostSet, ids: Iterable[str], options: InferenceOptions, progress: Progress
) -> Features:
    """The features that a run's head reads of some posts, with the run's own fingerprints.

    What the caches lack of these posts is extracted first, along with the rest of the data set; of
    a fine-tuned run these posts alone, which so share their batches whenever they are asked for.

    Raises:
        CacheError: The backbone's weights are no longer those that the run was trained on.
        MvsaError: As ``extract``.
    """
    wanted = set(ids)
    asked = replace(posts, posts=tuple(post for post in posts.posts if post.id in wanted))
    posts = asked if is_tuned(run) else posts
    files: dict[Modality, tuple[FeatureFile, ...]] = {}
    faults: dict[str, str] = {}
    for name, records in run.config["caches"].items():
        for record in records if isinstance(records, list) else [records]:  # a list where joined
            backbone = partial(options_of, run, Modality(name), record)
            file, found = _file_for(record, backbone, posts, asked, options, progress)
            files[Modality(name)] = (*files.get(Modality(name), ()), file)
            faults |= {i: fault for i, fault in found.items() if i in wanted and i not in faults}
    return Features(files, faults)


def _file_for(
    record: Mapping[str, Any],
    backbone: Callable[[], BackboneOptions],
    posts: PostSet,
    asked: PostSet,
    options: InferenceOptions,
    progress: Progress,
) -> tuple[FeatureFile, dict[str, str]]:
    """A cache that holds all posts asked for as they are now, but those with faults."""
    fingerprint = Fingerprint.from_json(record["fingerprint"])
    paths = CacheFolder(options.cache).of_fingerprint(posts.name, fingerprint)
    files = [FeatureFile(path) for path in paths if path.is_file()]
    if files:
        contents, faults = contents_of(asked, fingerprint.modality, options.cache)
        skips = options.on_bad_post is BadPostPolicy.SKIP
        for file in files if skips or not faults else ():
            fingerprint.require(file.header.fingerprint, file.path)
            known = file.header.content_digests
            if all(known.get(item.id) == item.digest for item in contents):
                return file, faults
    fingerprint.require_makeable(paths[0] if paths else options.cache)
    extraction = extract(
        posts,
        backbone(),
        ExtractOptions(
            cache=options.cache,
            device=options.device,
            precision=fingerprint.arithmetic,
            dtype=fingerprint.dtype,
            on_bad_post=options.on_bad_post,
        ),
        progress,
    )
    fingerprint.require(extraction.file.header.fingerprint, extraction.file.path)
    return extraction.file, extraction.skipped
