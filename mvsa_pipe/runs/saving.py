"""Writes what an experiment came to as a run folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import inside
from mvsa_pipe.errors import RunError
from mvsa_pipe.runs import (
    Member,
    Prediction,
    Run,
    checked_run_name,
    free_name,
    predictions_of,
    write_run,
)
from mvsa_pipe.runs.fit import Result
from mvsa_pipe.runs.layout import CONTENT_DIGITS
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.runs.records import config_record
from mvsa_pipe.training.options import TrainingOptions

# Of names that are longer together than a folder's may be, each is cut to so many letters.
_MOST_WORD = 40


def save_run(
    experiment: Experiment,
    result: Result,
    training: TrainingOptions,
    folder: Path,
    name: str | None = None,
    more_config: Mapping[str, Any] | None = None,
    more: Mapping[str, Path] | None = None,
) -> Run:
    """Writes a result as a run folder.

    Args:
        experiment: What the head was trained on.
        result: The trained head.
        training: How it was trained.
        folder: The folder of all runs.
        name: The run's name; one that is free, made of its parts, unless given.
        more_config: What else the run was made from.
        more: Files that are copied into the folder, by their names there.

    Raises:
        RunError: A run of the given name is there already.
        ConfigError: The name cannot be used.
        StorageError: The disk refuses.
    """
    contents = (
        config_record(experiment, result.head, result.fitted.head, training, result.seeds)
        | dict(more_config or {}),
        result.record,
        result.fitted.history,
        {result.fitted.head.file: result.fitted.head.dump()},
        _predictions(experiment, result),
        _members(experiment),
        more,
    )
    if name is not None:
        return write_run(inside(folder, checked_run_name(name)), *contents)
    wanted = default_run_name(experiment, result.head, result.seeds or (result.seed,))
    while True:
        try:
            return write_run(inside(folder, free_name(folder, wanted)), *contents)
        except RunError:
            continue  # another process took the name in between


def _predictions(experiment: Experiment, result: Result) -> list[Prediction]:
    rows = []
    classes = experiment.posts.classes
    for part, probabilities in result.probabilities.items():
        ids = [experiment.material.features.post_ids[i] for i in experiment.indices[part].tolist()]
        labels = [classes[c] for c in result.labels[part].tolist()]
        rows += predictions_of(ids, [part] * len(ids), labels, probabilities, classes)
    return rows


def _members(experiment: Experiment) -> list[Member]:
    labels = {post.id: post.label or "" for post in experiment.posts.posts}
    contents, left_out = experiment.contents(), set(experiment.left_out)
    return [
        Member(
            i,
            part,
            labels[i],
            {m: of[i][:CONTENT_DIGITS] for m, of in contents.items() if i in of}
            if i not in left_out
            else {},
        )
        for i, part in experiment.split.parts.items()
    ]


def default_run_name(experiment: Experiment, head: str, seeds: Sequence[int]) -> str:
    """``<data set>-<head>-<text>-<image>-seed<k>``, in characters that any disk takes.

    An ensemble's ends in ``-seeds<first>-<last>``.
    """
    seed = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    parts = [experiment.posts.name, head, *experiment.backbones.values(), seed]
    words = [re.sub(r"[^A-Za-z0-9._+]+", "-", part).strip("-.") for part in parts]
    short = [word[:_MOST_WORD] for word in words]
    return "-".join(short if sum(map(len, words)) > _MOST_WORD * 3 else words)
