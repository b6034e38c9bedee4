"""Loads the backbones of a run, with the weights and the arithmetic that the run used."""

from collections.abc import Container, Mapping
from typing import Any

import torch

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.devices import Precision, resolve_device
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.in_memory import Forwards
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import options_of, records_of


def feature_options(run: Run) -> FeatureOptions:
    """How a run's head reads image tokens and layers."""
    mix = LayerMix(run.config.get("layer_mix", LayerMix.LAST))  # absent in runs of 0.1
    return FeatureOptions(int(run.config["image_grid"]), mix)


# Loaded backbones, by their options, fingerprint and device.
KnownForwards = dict[tuple[object, ...], Forward[Any]]


def load_forwards(
    run: Run,
    device: str,
    progress: Progress,
    halves: Container[Modality] = tuple(Modality),
    known: KnownForwards | None = None,
) -> Forwards:
    """Loads every backbone of a run, or those of some halves of a post.

    Args:
        run: The run.
        device: Where they compute.
        progress: Notified of each backbone.
        halves: The modalities whose backbones are loaded.
        known: Backbones that other runs loaded and this one may share; those loaded are added.

    Raises:
        RunError: Tuned weights are missing.
        BackboneError: Weights cannot be loaded.
        CacheError: Weights have changed since the run was trained, or this version cannot compute
            such features.
    """
    where = resolve_device(device)
    shared: KnownForwards = {} if known is None else known
    forwards: dict[Modality, list[Forward[Any]]] = {}
    for modality in (m for m in map(Modality, run.config["caches"]) if m in halves):
        for record in records_of(run, modality):
            made_by = Fingerprint.from_json(record["fingerprint"]).renewed
            made_by.require_makeable(record.get("path") or run.path)
            key = options_of(run, modality, record), made_by.digest, where
            if key not in shared:
                progress.say(f"loading {made_by.backbone}")
                shared[key] = load_forward(run, modality, record, where)
            forwards.setdefault(modality, []).append(shared[key])
    return forwards


def load_forward(
    run: Run, modality: Modality, record: Mapping[str, Any], device: torch.device
) -> Forward[Any]:
    """Loads one backbone of a run on a device, with the run's arithmetic and type.

    Raises:
        RunError: Its tuned weights are missing.
        BackboneError: Its weights cannot be loaded.
        CacheError: Its weights have changed since the run was trained.
    """
    made_by = Fingerprint.from_json(record["fingerprint"]).renewed
    backbone = load_backbone(options_of(run, modality, record))
    precision = Precision(made_by.arithmetic)
    forward = Forward(backbone, device, precision, made_by.dtype, made_by.keep)
    rows = made_by.differences(forward.fingerprint)
    changed = [f"{k} {b}, not {a}" for k, (a, b) in rows.items() if k not in _NO_VALUES]
    if changed:
        raise CacheError(
            f"Backbone {backbone.identity.name} has changed since this run's features were "
            "extracted",
            where=run.path,
            found="; ".join(changed),
            hint="restore its original weights, or extract and fit again",
        )
    backbone.to(device)
    return forward


# Fields of a fingerprint that do not describe the loaded backbone: its name, the file layout, and
# the arithmetic, which is an option.
_NO_VALUES = ("backbone", "schema", "precision")
