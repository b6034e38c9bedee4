"""Writes the result of a training as a run folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvsa_pipe.disk import inside
from mvsa_pipe.errors import RunError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.own import SOURCE_FILE
from mvsa_pipe.runs import (
    Prediction,
    Run,
    RunContents,
    checked_run_name,
    free_name,
    predictions_of,
    write_run,
)
from mvsa_pipe.runs.fit import FitResult
from mvsa_pipe.runs.metadata import config_record
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.user_code import source_file

# If a run's name would be too long for a folder, each of its words is cut to this length.
_MOST_WORD = 40


def save_run(
    experiment: Experiment,
    result: FitResult,
    training: TrainingOptions,
    folder: Path,
    name: str | None = None,
    more_config: Mapping[str, Any] | None = None,
    more: Mapping[str, Path] | None = None,
) -> Run:
    """Writes a result as a run folder.

    Args:
        experiment: The posts and features.
        result: The trained head.
        training: The options of its training.
        folder: The folder of all runs.
        name: The run's name; by default an unused one from ``default_run_name``.
        more_config: Further entries of ``config.json``.
        more: Files to copy into the folder, by their names there.

    Raises:
        RunError: A run of the given name exists already.
        ConfigError: The name cannot be used.
        StorageError: The disk refuses.
    """
    contents = run_contents(experiment, result, training, more_config, more)
    if name is not None:
        return write_run(inside(folder, checked_run_name(name)), contents)
    wanted = default_run_name(experiment, result.head, result.seeds or (result.seed,))
    while True:
        try:
            return write_run(inside(folder, free_name(folder, wanted)), contents)
        except RunError:
            continue  # another process took the name meanwhile


def run_contents(
    experiment: Experiment,
    result: FitResult,
    training: TrainingOptions,
    more_config: Mapping[str, Any] | None = None,
    more: Mapping[str, Path] | None = None,
) -> RunContents:
    """The files of a result's run folder; arguments as in ``save_run``."""
    model = result.fitted.head
    return RunContents(
        config=config_record(experiment, result.head, model, training, result.seeds)
        | dict(more_config or {}),
        metrics=result.record,
        history=result.fitted.history,
        model={model.file: model.dump(), **_source_of(result.head)},
        predictions=_predictions(experiment, result),
        split=experiment.split_csv,
        more=dict(more or {}),
    )


def _source_of(head: str) -> dict[str, bytes]:
    """The file of an own head, kept for reference: nothing runs it unless a user names it."""
    source = source_file(HEADS.load(head))
    return {} if source is None else {SOURCE_FILE: source}


def _predictions(experiment: Experiment, result: FitResult) -> list[Prediction]:
    rows: list[Prediction] = []
    classes = experiment.posts.classes
    for part, probabilities in result.probabilities.items():
        ids = [
            experiment.training_data.features.post_ids[i] for i in experiment.indices[part].tolist()
        ]
        labels = [classes[c] for c in result.labels[part].tolist()]
        rows += predictions_of(ids, [part] * len(ids), labels, probabilities, classes)
    return rows


def default_run_name(experiment: Experiment, head: str, seeds: Sequence[int]) -> str:
    """``<data set>-<head>-<text>-<image>-seed<k>``, in characters that any file system allows.

    An ensemble's name ends in ``-seeds<first>-<last>``.
    """
    seed = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    parts = [experiment.posts.name, head, *experiment.backbones.values(), seed]
    words = [re.sub(r"[^A-Za-z0-9._+]+", "-", part).strip("-.") for part in parts]
    short = [word[:_MOST_WORD] for word in words]
    return "-".join(short if sum(map(len, words)) > _MOST_WORD * 3 else words)
