"""A run's backbones and head over posts in memory: nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.devices import Precision, resolve_device
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.in_memory import (
    POSTS_ENCODED_TOGETHER,
    ContentsByModality,
    Forwards,
    encode,
)
from mvsa_pipe.features.load import FeatureOptions
from mvsa_pipe.heads.model import Model
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import options_of, records_of
from mvsa_pipe.training.scoring import predict_probabilities


@dataclass(frozen=True)
class PostProbabilities:
    """Probabilities of a head for some posts.

    Attributes:
        ids: The posts that every backbone could read, in their order.
        probabilities: ``[N, C]``, in the order of ``ids``.
        faults: What is wrong with the others, by id.
    """

    ids: tuple[str, ...]
    probabilities: NDArray[np.float32]
    faults: dict[str, str]


def answer_contents(
    head: Model,
    contents: ContentsByModality,
    backbones: Forwards,
    options: FeatureOptions,
    progress: Progress,
    texts: Mapping[str, str],
    decode: Decode = Decode.AUTO,
) -> PostProbabilities:
    """Encodes posts and applies a head to them, so many at a time that memory stays bounded.

    Args:
        head: The head or baseline.
        contents: What is read of every post, by modality; the same posts in the same order.
        backbones: The backbones of each modality.
        options: What becomes of image tokens and layers.
        progress: Notified of posts.
        texts: The texts of all posts by id, for models that read them.
        decode: How pictures become pixels.

    Raises:
        MvsaError: As ``encode`` and ``predict_probabilities``.
    """
    classes, count = head.sizes.classes, len(next(iter(contents.values())))
    ids: list[str] = []
    blocks = [np.zeros((0, classes), np.float32)]
    faults: dict[str, str] = {}
    for start in range(0, count, POSTS_ENCODED_TOGETHER):
        stop = start + POSTS_ENCODED_TOGETHER
        some = {modality: items[start:stop] for modality, items in contents.items()}
        encoded = encode(some, backbones, head.needs, classes, options, progress, decode)
        faults |= encoded.faults
        readable = encoded.features.post_ids
        if readable:
            features = encoded.features.to(head.device)
            every = torch.arange(len(readable), device=head.device)
            own = [texts[post_id] for post_id in readable] if head.reads_texts else None
            blocks.append(predict_probabilities(head, features, every, own))
            ids += readable
    return PostProbabilities(tuple(ids), np.concatenate(blocks), faults)


def feature_options(run: Run) -> FeatureOptions:
    """What a run's head makes of image tokens and layers."""
    mix = LayerMix(run.config.get("layer_mix", LayerMix.LAST))  # runs of 0.1 do not say
    return FeatureOptions(int(run.config["image_grid"]), mix)


def load_forwards(run: Run, device: str, progress: Progress) -> Forwards:
    """Loads every backbone of a run, as the run used it.

    Raises:
        RunError: Tuned weights are missing.
        BackboneError: Weights cannot be had.
        CacheError: They are no longer those that the run was trained on, or features were made in
            a way that this version cannot.
    """
    where = resolve_device(device)
    forwards: dict[Modality, list[Forward[Any]]] = {}
    for modality in map(Modality, run.config["caches"]):
        for record in records_of(run, modality):
            made_by = Fingerprint.from_json(record["fingerprint"]).renewed
            made_by.require_makeable(record.get("path") or run.path)
            progress.say(f"loading {made_by.backbone}")
            forwards.setdefault(modality, []).append(load_forward(run, modality, record, where))
    return forwards


def load_forward(
    run: Run, modality: Modality, record: Mapping[str, Any], device: torch.device
) -> Forward[Any]:
    """Loads one backbone of a run on a device, in the arithmetic and type that the run used.

    Raises:
        RunError: Its tuned weights are missing.
        BackboneError: Its weights cannot be had.
        CacheError: They are no longer those that the run was trained on.
    """
    made_by = Fingerprint.from_json(record["fingerprint"]).renewed
    backbone = load_backbone(options_of(run, modality, record))
    forward = Forward(backbone, device, Precision(made_by.arithmetic), made_by.dtype)
    rows = made_by.differences(forward.fingerprint)
    changed = [f"{k} {b}, not {a}" for k, (a, b) in rows.items() if k not in _NO_VALUES]
    if changed:
        raise CacheError(
            f"Backbone {backbone.identity.name} is no longer the one that this run's features "
            "came from",
            where=run.path,
            found="; ".join(changed),
            hint="bring its weights back to where they were, or extract and fit again",
        )
    backbone.to(device)
    return forward


# Fields of a fingerprint that tell nothing of the loaded backbone: its name, the file layout, and
# the arithmetic, which was asked for.
_NO_VALUES = ("backbone", "schema", "precision")
