"""Features of the posts that runs are scored on, each read once for all runs that share them.

They are found where a run recorded its caches, or in another folder; no backbone runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvsa_pipe.analysis.changed_features import Constant, Inputs
from mvsa_pipe.analysis.options import Replacement, RescoringOptions
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError, RunError
from mvsa_pipe.features.batch import ENCODED, Field
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.load import load
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.heads.model import Model
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.splits.split import TRAIN
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Member, Run
from mvsa_pipe.runs.backbones import is_tuned, records_of
from mvsa_pipe.runs.forwards import feature_options
from mvsa_pipe.runs.inference import load_head, serving_fingerprints
from mvsa_pipe.runs.prepare import texts_of

# Posts whose features are in memory at a time while means are computed.
_MEAN_BLOCK = 256


@dataclass(frozen=True)
class OpenedRun:
    """A run with its model, its caches, and how it reads them.

    Attributes:
        run: The run.
        model: Its head or baseline.
        files: The caches of each modality that it reads.
        options: How it reads image tokens and layers.
        train: Its training posts.
    """

    run: Run
    model: Model
    files: Mapping[Modality, tuple[FeatureFile, ...]]
    options: FeatureOptions
    train: tuple[str, ...]


def open_with_caches(run: Run, options: RescoringOptions, progress: Progress) -> OpenedRun:
    """Loads a run's model, and finds its features.

    Raises:
        CacheError: Features are not cached, or of posts that have changed.
        RunError: The checkpoint is missing or damaged.
    """
    model = load_head(run, options.device, progress)
    left_out = set(run.metrics.get("left_out", ()))
    members = [member for member in run.members() if member.post_id not in left_out]
    files = {
        modality: tuple(
            _cache_of(run, members, model, modality, record, options.cache)
            for record in records_of(run, modality)
        )
        for modality in map(Modality, run.config["caches"])
    }
    train = tuple(member.post_id for member in members if member.split == TRAIN)
    return OpenedRun(run, model, files, feature_options(run), train)


def _cache_of(
    run: Run,
    members: Sequence[Member],
    model: Model,
    modality: Modality,
    record: Mapping[str, Any],
    folder: Path | None,
) -> FeatureFile:
    """The first cache with a run's features of all its posts.

    Raises:
        CacheError: There is none.
    """
    fingerprint = Fingerprint.from_json(record["fingerprint"])
    serving = serving_fingerprints(fingerprint, model.needs, modality)
    found = "no such file"
    for path in _paths(run, record, serving, folder):
        file = FeatureFile(path)
        if all(each.differences(file.header.fingerprint) for each in serving):
            fault = "features of another fingerprint"
        else:
            fault = _fault(members, modality, file)
        if not fault:
            return file
        found = f"{path}: {fault}"
    again = f"mvsa extract --from {run.path}" if is_tuned(run) else f"mvsa evaluate {run.path}"
    raise CacheError(
        f"The {modality} features of this run are not cached",
        where=run.path,
        expected=f"features {fingerprint.digest[:8]} of {fingerprint.backbone}",
        found=found,
        hint=f"--cache names the folder of caches; {again} extracts them again",
    )


def _paths(
    run: Run, record: Mapping[str, Any], serving: Sequence[Fingerprint], folder: Path | None
) -> list[Path]:
    """Files that may have a run's features: the recorded one, or those of a folder."""
    name, recorded = str(run.config["data"]["name"]), record.get("path")
    caches = CacheFolder(folder or Path("cache"))
    paths = [path for each in serving for path in caches.of_fingerprint(name, each)]
    first = [Path(recorded)] if recorded and folder is None else []
    return [path for path in (*first, *paths) if path.is_file()]


def _fault(members: Sequence[Member], modality: Modality, file: FeatureFile) -> str:
    """Why a cache does not hold the posts of a run; empty if it does."""
    digests = file.header.content_digests
    lacking = sum(member.post_id not in digests for member in members)
    if lacking:
        return f"{lacking:,} posts of the run are missing"
    changed = sum(not digests[m.post_id].startswith(m.contents.get(modality, "")) for m in members)
    return f"{changed:,} posts have changed since the run" if changed else ""


@dataclass
class FeatureLibrary:
    """Features of the scored posts, and means of training posts, each read once for all runs."""

    ids: tuple[str, ...]
    _wanted: dict[tuple[Path, FeatureOptions], set[Field]] = field(default_factory=dict)
    _read: dict[tuple[Path, FeatureOptions], ResidentFeatures] = field(default_factory=dict)
    _means: dict[tuple[Path, FeatureOptions, tuple[str, ...]], Constant] = field(
        default_factory=dict
    )
    _texts: dict[tuple[Path, str], tuple[str, ...]] = field(default_factory=dict)

    def request(self, one: OpenedRun) -> None:
        """Notes what a run reads, before anything is read."""
        for modality, files in one.files.items():
            own = {need for need in one.model.needs & ENCODED if need.modality is modality}
            for file in files:
                self._wanted.setdefault((file.path, one.options), set()).update(own)

    def inputs_of(self, one: OpenedRun) -> Inputs:
        """The features of the scored posts."""
        sources = {
            modality: tuple(self._features(modality, file, one.options) for file in files)
            for modality, files in one.files.items()
        }
        return Inputs(JoinedFeatures(sources), self._texts_of(one))

    def constants_of(self, one: OpenedRun) -> Callable[[Modality, Replacement], Sequence[Constant]]:
        """What replaces a run's features; means are computed when they are first asked for."""

        def constants(modality: Modality, replacement: Replacement) -> Sequence[Constant]:
            means = [self._mean(modality, file, one) for file in one.files[modality]]
            return means if replacement is Replacement.MEAN else [mean.zeros() for mean in means]

        return constants

    def _features(
        self, modality: Modality, file: FeatureFile, options: FeatureOptions
    ) -> ResidentFeatures:
        key = file.path, options
        if key not in self._read:
            self._read[key] = _resident(modality, file, self.ids, self._wanted[key], options)
        return self._read[key]

    def _mean(self, modality: Modality, file: FeatureFile, one: OpenedRun) -> Constant:
        key = file.path, one.options, one.train
        if key not in self._means:
            wanted = self._wanted[file.path, one.options]
            self._means[key] = _mean_of(modality, file, one.train, wanted, one.options)
        return self._means[key]

    def _texts_of(self, one: OpenedRun) -> tuple[str, ...] | None:
        if not one.model.reads_texts:
            return None
        data = one.run.config["data"]
        if data["path"] is None:
            raise RunError(
                "This baseline reads texts, and its posts were built in memory",
                where=one.run.path,
                hint="fit it over posts on the disk, or without terms",
            )
        key = Path(data["path"]), str(one.run.read_options)
        if key not in self._texts:
            self._texts[key] = texts_of(read_posts(key[0], one.run.read_options), self.ids)
        return self._texts[key]


def _resident(
    modality: Modality,
    file: FeatureFile,
    ids: Sequence[str],
    wanted: set[Field],
    options: FeatureOptions,
) -> ResidentFeatures:
    source = load({modality: [file]}, ids, wanted, 0, options)
    assert isinstance(source, ResidentFeatures)  # noqa: S101  # of one backbone, without a limit
    return source


def _mean_of(
    modality: Modality,
    file: FeatureFile,
    ids: Sequence[str],
    wanted: set[Field],
    options: FeatureOptions,
) -> Constant:
    """Means over training posts.

    Those of pooled vectors, of all real text tokens, and of image tokens by their place.
    """
    pooled, hidden = _Sum(), _Sum()
    lengths: list[Tensor] = []
    for start in range(0, len(ids), _MEAN_BLOCK):
        block = ids[start : start + _MEAN_BLOCK]
        some = _resident(modality, file, block, wanted, options)
        is_text = modality is Modality.TEXT
        pooled.add(some.text_pooled if is_text else some.image_pooled)
        hidden.add(some.image_hidden if some.text_hidden is None else some.text_hidden.states)
        if some.text_hidden is not None:
            lengths.append(some.text_hidden.lengths)
    tokens = int(torch.cat(lengths).median()) if lengths else 0
    return Constant(tokens, pooled.mean(), hidden.mean())


class _Sum:
    """A running sum over the first axis, in double precision."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0
        self.dtype = torch.float32

    def add(self, values: Tensor | None) -> None:
        if values is None:
            return
        # float32 within a block, whose sums are of a few thousand numbers of half precision
        block = values.float().sum(dim=0).double()
        self.total = block if self.total is None else self.total + block
        self.count += len(values)
        self.dtype = values.dtype

    def mean(self) -> Tensor | None:
        return None if self.total is None else (self.total / self.count).to(self.dtype)
