"""Probabilities for every post of a run's data set, each by a head that was trained without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvsa_pipe.analysis.options import LabelsOptions
from mvsa_pipe.errors import CacheError, MvsaError, RunError
from mvsa_pipe.heads import named_head
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Classes, Floats
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import is_tuned, records_of
from mvsa_pipe.runs.fit import try_run_heads
from mvsa_pipe.runs.forwards import feature_options
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.own_posts import own_posts
from mvsa_pipe.runs.prepare import Experiment, needs_of, prepare_heads
from mvsa_pipe.training.epochs import FitProgress
from mvsa_pipe.training.options import RunSpec, TrainingOptions


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold probabilities of a data set.

    Attributes:
        posts: The data set.
        ids: The posts with a label and features, in the data set's order.
        labels: Their classes ``[N]``.
        probabilities: ``[N, C]``, each row by a head that was trained without the post.
        groups: The number of each post's group of duplicates ``[N]``.
        head: The head.
        folds: How many folds.
    """

    posts: PostSet
    ids: tuple[str, ...]
    labels: Classes
    probabilities: Floats
    groups: Classes
    head: str
    folds: int


def out_of_fold(runs: Sequence[Run], options: LabelsOptions, progress: Progress) -> OutOfFold:
    """Trains a head once a fold over the cached features of a run; no backbone is loaded.

    Duplicates are in one fold. Epoch or strength are selected by log-loss on another fold, since
    probabilities are what is used.

    Args:
        runs: Runs over one data set; the features of the first that has what the head reads are
            used.
        options: The head, the number of folds, their seed and that of training, and the caches.
        progress: Receives progress.

    Raises:
        RunError: No run has these features as a cache.
        DataError: The run's posts were built in memory, or have changed since.
        MvsaError: Posts or caches cannot be read, or a training failed.
    """
    head, folds, seed = named_head(options.head), options.folds, options.seed
    run = _run_with_features(runs, head)
    posts = own_posts(run)
    first = prepare_heads(
        DataChoice(
            path=Path(run.config["data"]["path"]),
            read=run.read_options,
            split=f"folds-{folds}:1",
            split_seed=seed,
            given=posts,
        ),
        _caches_of(run, head, options.cache),
        [head],
    )
    every = [first, *(first.split_as(f"folds-{folds}:{k}", seed) for k in range(2, folds + 1))]
    return _predicted(every, head, options, progress)


def _predicted(
    every: Sequence[Experiment], head: str, options: LabelsOptions, progress: Progress
) -> OutOfFold:
    training = TrainingOptions(seed=options.seed, device=options.device, select=Score.LOG_LOSS)
    spec = RunSpec(head, training, {})
    planned = [(experiment, spec) for experiment in every]
    shown = FitProgress(progress, [(experiment.training_data, spec) for experiment in every])
    results = try_run_heads(planned, shown.on_step, on_epoch=shown.on_epoch)
    data = every[0].training_data
    probabilities = np.zeros((len(data.features.post_ids), len(data.classes)))
    for experiment, result in zip(every, results, strict=True):
        if isinstance(result, MvsaError):
            raise result
        probabilities[experiment.indices["test"].numpy()] = result.probabilities["test"]
    posts, ids = every[0].posts, tuple(data.features.post_ids)
    numbers = dict(zip((p.id for p in posts.posts), duplicate_groups(posts), strict=True))
    groups = np.array([numbers[post_id] for post_id in ids], np.int64)
    labels = data.labels.cpu().numpy()
    return OutOfFold(posts, ids, labels, probabilities, groups, head, len(every))


def _run_with_features(runs: Sequence[Run], head: str) -> Run:
    wanted = {need.modality.value for need in needs_of([head])}
    for run in runs:
        if not is_tuned(run) and wanted <= run.config["caches"].keys():
            return run
    raise RunError(
        f"None of these runs has the cached features that head {head!r} reads",
        where=runs[0].path,
        expected=f"a run of mvsa fit or mvsa bench over {' and '.join(sorted(wanted))}",
        found=", ".join(
            f"{run.title} over {' and '.join(run.config['caches']) or 'none'}"
            + (" of tuned backbones" if is_tuned(run) else "")
            for run in runs
        ),
        hint="name such a run too, or judge labels by what is there: --head text, --head image",
    )


def _caches_of(run: Run, head: str, cache: Path | None) -> CacheChoice:
    """The run's own caches of what a head reads."""
    names, folders = {}, [cache] if cache else []
    for modality in {need.modality for need in needs_of([head])}:
        records = records_of(run, modality)
        names[modality] = "+".join(f"@{record['digest']}" for record in records)
        folders += [Path(record["path"]).parents[1] for record in records if record.get("path")]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise CacheError(
            "The caches of this run are not where it found them",
            where=run.path,
            found=", ".join(map(str, folders)) or "no path in the record",
            hint="--cache names the folder of all caches; mvsa extract makes them again",
        )
    return CacheChoice(
        folder,
        names.get(Modality.TEXT),
        names.get(Modality.IMAGE),
        features=feature_options(run),
    )
