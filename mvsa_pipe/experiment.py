"""Posts, split and caches joined into what heads train on; and one head's run from end to end."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import describe_device, resolve_device
from mvsa_pipe.errors import CacheError, name_some
from mvsa_pipe.extraction.contents import contents_of
from mvsa_pipe.features import Field
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.metrics import Scores, chance, majority, score
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, ReadOptions, Split, parse_split, protocol_tag, read_posts
from mvsa_pipe.provenance import now, package_versions, peak_memory_bytes
from mvsa_pipe.resident import load_resident
from mvsa_pipe.runs import Prediction, Run, predictions_of, write_run
from mvsa_pipe.training.fitting import Fitted, Material, fit_head, predict_probabilities
from mvsa_pipe.training.options import TrainingOptions

_SCORED_PARTS = ("val", "test")


@dataclass(frozen=True)
class DataChoice:
    """Which posts, read and split how.

    Attributes:
        path: Where the posts lie.
        read: How they are read.
        split: ``random-8:1:1`` or the path of a split.
        split_seed: Seed of a random split.
    """

    path: Path = Path("data")
    read: ReadOptions = field(default_factory=ReadOptions)
    split: str = "random-8:1:1"
    split_seed: int = 0


@dataclass(frozen=True)
class CacheChoice:
    """Which caches.

    Attributes:
        folder: The folder of all caches.
        text: The text backbone's name, ``@`` and digits of a fingerprint behind it if wanted;
            ``None`` takes the newest.
        image: The same for the image backbone.
    """

    folder: Path = Path("cache")
    text: str | None = None
    image: str | None = None

    def of(self, modality: Modality) -> str | None:
        """The choice for one modality."""
        return self.text if modality is Modality.TEXT else self.image


@dataclass(frozen=True)
class Experiment:
    """Everything that heads are trained and scored on, loaded once for any number of them.

    Attributes:
        data: Where the posts came from.
        posts: The posts.
        split: Their split.
        protocol: The protocol tag.
        files: The cache of each modality.
        material: What heads are trained on.
        indices: Indices of the posts of each part.
        left_out: Labelled posts of the split without features, as their extraction skipped them.
    """

    data: DataChoice
    posts: PostSet
    split: Split
    protocol: str
    files: dict[Modality, FeatureFile]
    material: Material
    indices: dict[str, torch.Tensor]
    left_out: tuple[str, ...]

    @property
    def backbones(self) -> dict[str, str]:
        """The backbone's name of each modality."""
        return {m.value: f.header.fingerprint.backbone for m, f in self.files.items()}


def needs_of(heads: Iterable[str]) -> set[Field]:
    """All features that some heads declare."""
    return {need for name in heads for need in HEADS.load(name).needs}


def prepare(
    data: DataChoice,
    caches: CacheChoice,
    needs: Iterable[Field],
    split_seed: int | None = None,
) -> Experiment:
    """Reads and splits the posts and loads the declared features from the newest fitting caches.

    Raises:
        DataError: The posts cannot be read.
        SplitError: The split does not fit them.
        CacheError: A cache is missing, stale, damaged, or lacks posts.
    """
    wanted = set(needs)
    posts = read_posts(data.path, data.read)
    seed = data.split_seed if split_seed is None else split_seed
    split = parse_split(data.split, posts, seed=seed)
    folder = CacheFolder(caches.folder)
    modalities = {need.modality for need in wanted}
    files = {
        modality: folder.newest(posts.name, modality, caches.of(modality))
        for modality in Modality
        if modality in modalities
    }
    ids, left_out = _usable_ids(posts, split, files)
    for modality, file in files.items():
        refuse_stale(posts, modality, file, set(ids))
    features = load_resident(files, ids, wanted, len(posts.classes))
    labels = {post.id: posts.classes.index(post.label) for post in posts.posts if post.label}
    places = {post_id: n for n, post_id in enumerate(ids)}
    indices = {
        part: torch.tensor([places[i] for i in split.ids(part) if i in places], dtype=torch.int64)
        for part in ("train", "val", "test")
    }
    material = Material(
        features=features,
        labels=torch.tensor([labels.get(i, -1) for i in ids], dtype=torch.int64),
        train=indices["train"],
        val=indices["val"],
        classes=posts.classes,
    )
    return Experiment(
        data=data,
        posts=posts,
        split=split,
        protocol=protocol_tag(posts, split),
        files=files,
        material=material,
        indices=indices,
        left_out=left_out,
    )


def _usable_ids(
    posts: PostSet, split: Split, files: Mapping[Modality, FeatureFile]
) -> tuple[list[str], tuple[str, ...]]:
    """Posts of the split, in the data set's order, but those that an extraction skipped."""
    skipped = {i for file in files.values() for i in file.header.notes.get("skipped", {})}
    in_split = [post.id for post in posts.posts if post.id in split.parts]
    return [i for i in in_split if i not in skipped], tuple(i for i in in_split if i in skipped)


def refuse_stale(
    posts: PostSet, modality: Modality, file: FeatureFile, wanted: set[str]
) -> None:
    """Refuses a cache whose posts have changed since they were extracted.

    Raises:
        CacheError: Names the posts.
    """
    known = dict(zip(file.header.ids, file.header.digests, strict=True))
    contents, _ = contents_of(posts, modality)
    stale = [
        item.id
        for item in contents
        if item.id in wanted and known.get(item.id, item.digest) != item.digest
    ]
    if stale:
        raise CacheError(
            f"The {modality} of {len(stale):,} posts has changed since it was extracted",
            where=file.path,
            found=name_some(stale),
            hint=f"mvsa extract --data {posts.storage.root} with the same --backbone",
        )


@dataclass(frozen=True)
class Result:
    """One trained head with its scores.

    Attributes:
        head: Its name.
        seed: Its seed.
        record: Everything that ``metrics.json`` holds.
        scores: Scores of each part that has posts, ``val`` and ``test``.
        labels: True classes of each part.
        predicted: Predicted classes of each part.
        probabilities: Probabilities of each part.
        fitted: The head and its history.
    """

    head: str
    seed: int
    record: dict[str, Any]
    scores: dict[str, Scores]
    labels: dict[str, NDArray[np.int64]]
    predicted: dict[str, NDArray[np.int64]]
    probabilities: dict[str, NDArray[np.float32]]
    fitted: Fitted


def run_head(
    experiment: Experiment,
    head: str,
    head_options: Mapping[str, OptionValue],
    training: TrainingOptions,
) -> Result:
    """Trains one head, picks its epoch on validation, and then scores the test part once.

    Raises:
        MvsaError: As ``fit_head``.
    """
    fitted = fit_head(head, head_options, experiment.material, training)
    device = resolve_device(training.device)
    features = experiment.material.features.to(device)
    probabilities, labels, predicted, scores = {}, {}, {}, {}
    for part in _SCORED_PARTS:
        index = experiment.indices[part]
        if not len(index):
            continue
        probabilities[part] = predict_probabilities(fitted.head, features, index.to(device))
        labels[part] = experiment.material.labels[index].numpy()
        predicted[part] = probabilities[part].argmax(axis=1)
        scores[part] = score(labels[part], predicted[part], experiment.posts.classes)
    record = _metrics_record(experiment, head, training, fitted, scores)
    return Result(
        head, training.seed, record, scores, labels, predicted, probabilities, fitted
    )


def references(experiment: Experiment, part: str) -> list[dict[str, Any]]:
    """The majority and the chance row of one part."""
    train = experiment.material.labels[experiment.indices["train"]].numpy()
    labels = experiment.material.labels[experiment.indices[part]].numpy()
    classes = len(experiment.posts.classes)
    return [row(train, labels, classes).as_record() for row in (majority, chance)]


def _metrics_record(
    experiment: Experiment,
    head: str,
    training: TrainingOptions,
    fitted: Fitted,
    scores: Mapping[str, Scores],
) -> dict[str, Any]:
    device = resolve_device(training.device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "protocol": experiment.protocol,
        "head": head,
        "batch_independent": fitted.head.batch_independent,
        "seed": training.seed,
        "backbones": experiment.backbones,
        "posts": experiment.split.sizes(),
        "left_out": list(experiment.left_out),
        "selected_by": f"val_{training.select.value}",
        "selected": fitted.history[fitted.best],
        "parameters": sum(p.numel() for p in fitted.head.parameters()),
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 4),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_gpu_bytes": peak,
        "device": describe_device(device),
        "scores": {part: values.as_record() for part, values in scores.items()},
        "references": {part: references(experiment, part) for part in scores},
    }


def save_run(
    experiment: Experiment, result: Result, training: TrainingOptions, folder: Path, name: str
) -> Run:
    """Writes a result as a run folder.

    Raises:
        RunError: A run of that name is there already.
        StorageError: The disk refuses.
    """
    config = {
        "head": result.head,
        "head_options": asdict(result.fitted.head.options),
        "sizes": asdict(experiment.material.features.sizes),
        "training": asdict(training),
        "protocol": experiment.protocol,
        "data": {
            "path": str(experiment.data.path.resolve()),
            "read": asdict(experiment.data.read),
            "split": experiment.data.split,
            "split_seed": experiment.data.split_seed,
            "name": experiment.posts.name,
            "classes": list(experiment.posts.classes),
        },
        "caches": {m.value: _cache_record(file) for m, file in experiment.files.items()},
        "versions": package_versions(),
        "written": now(),
    }
    state = result.fitted.head.state_dict()
    return write_run(
        folder / name,
        config,
        result.record,
        result.fitted.history,
        state,
        _predictions(experiment, result),
    )


def _cache_record(file: FeatureFile) -> dict[str, Any]:
    return {
        "path": str(file.path.resolve()),
        "digest": file.header.fingerprint.digest,
        "fingerprint": file.header.fingerprint.to_json(),
        "backbone": file.header.notes.get("backbone"),
    }


def _predictions(experiment: Experiment, result: Result) -> list[Prediction]:
    rows = []
    classes = experiment.posts.classes
    for part, probabilities in result.probabilities.items():
        ids = [experiment.material.features.post_ids[i] for i in experiment.indices[part].tolist()]
        labels = [classes[c] for c in result.labels[part].tolist()]
        rows += predictions_of(ids, [part] * len(ids), labels, probabilities, classes)
    return rows


def default_run_name(experiment: Experiment, head: str, seed: int) -> str:
    """``<data set>-<head>-<text>-<image>-seed<k>``, in characters that any disk takes."""
    parts = [experiment.posts.name, head, *experiment.backbones.values(), f"seed{seed}"]
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-") for part in parts)


