"""Digests of everything that determines a run's numbers: equal digests mean equal runs."""

import hashlib
import json

import numpy as np

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.heads.own import head_origin
from mvsa_pipe.provenance import package_versions
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.training.options import RunSpec


def experiment_digest(experiment: Experiment) -> str:
    """Digest of everything that determines a run's numbers, except for the head and its training.

    It covers posts, labels and split, the contents of the caches, the device and the versions.
    """
    labels = {post.id: post.label for post in experiment.posts.posts}
    deciding = {
        "protocol": experiment.protocol,
        "split": [[i, part, labels[i]] for i, part in experiment.split.parts.items()],
        "classes": experiment.posts.classes,
        "left_out": experiment.left_out,
        "caches": {
            m.value: [_features_digest(file, experiment) for file in files]
            for m, files in experiment.files.items()
        },
        "image_grid": experiment.caches.features.image_grid,
        "layer_mix": experiment.caches.features.layer_mix.value,
        "device": str(experiment.training_data.labels.device),
        "versions": package_versions(),
    }
    return _digest(deciding)


def _features_digest(file: FeatureFile, experiment: Experiment) -> str:
    """Digest of the features of these posts; added posts do not change it."""
    rows = [file.rows[post_id] for post_id in experiment.training_data.features.post_ids]
    features = hashlib.sha256(np.ascontiguousarray(file.checksums[rows]).tobytes()).hexdigest()
    return f"{file.header.fingerprint.digest}-{features}"


def spec_digest(experiment: str, spec: RunSpec) -> str:
    """Digest of everything that determines a run's numbers.

    Args:
        experiment: The ``experiment_digest`` of its posts and features.
        spec: The head and its training.
    """
    own = head_origin(spec.head)
    deciding = [experiment, spec.head, spec.training.as_record(), dict(spec.head_options)]
    return _digest(deciding if own is None else [*deciding, own.sha256])


def _digest(deciding: object) -> str:
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
