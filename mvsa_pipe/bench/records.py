"""Records of single runs, each written as its run ends, so that a stopped bench goes on.

A record is found by everything that decides its run: posts, labels and split, the caches' contents,
head, seed, training options, device and versions. What is not the same is not found.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import write_json
from mvsa_pipe.experiment.prepare import Experiment
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.provenance import package_versions
from mvsa_pipe.training.options import TrainingOptions

FOLDER = "bench-records"


class RunRecords:
    """The records in one folder of runs.

    Args:
        runs: The folder of all runs; ``None`` keeps nothing and finds nothing.
    """

    def __init__(self, runs: Path | None) -> None:
        self._folder = None if runs is None else runs / FOLDER

    def find(self, name: str) -> dict[str, Any] | None:
        """A record by the name that ``record_name`` gave it; ``None`` if it is not whole."""
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / name).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("record") == name else None

    def keep(self, name: str, record: Mapping[str, Any]) -> None:
        """Writes a record, whole or not at all.

        Raises:
            StorageError: The disk refuses.
        """
        if self._folder is not None:
            write_json(self._folder / name, {"record": name, **record})


def experiment_digest(experiment: Experiment) -> str:
    """Digest of everything but the head and its training that decides a run's numbers."""
    labels = {post.id: post.label for post in experiment.posts.posts}
    deciding = {
        "protocol": experiment.protocol,
        "split": [[i, part, labels[i]] for i, part in experiment.split.parts.items()],
        "classes": experiment.posts.classes,
        "left_out": experiment.left_out,
        "caches": {
            m.value: "+".join(f.seal for f in files) for m, files in experiment.files.items()
        },
        "image_grid": experiment.caches.image_grid,
        "layer_mix": experiment.caches.layer_mix.value,
        "device": str(experiment.material.labels.device),
        "versions": package_versions(),
    }
    return _digest(deciding)


def record_name(
    experiment: str, head: str, training: TrainingOptions, head_options: Mapping[str, OptionValue]
) -> str:
    """``<head>-seed<k>-<digest>.json``; equal names mean equal runs.

    Args:
        experiment: What ``experiment_digest`` says of its posts and features.
        head: The head's name.
        training: How it is trained.
        head_options: Options of the head that differ from their defaults.
    """
    deciding = [experiment, head, asdict(training), dict(head_options)]
    return f"{head}-seed{training.seed}-{_digest(deciding)[:16]}.json"


def _digest(deciding: object) -> str:
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
