"""The backbones that a run was made with, with the weights that fine-tuning left them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mvsa_pipe.backbones.from_record import backbone_from_record
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import RunError
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.layout import tuned_file

if TYPE_CHECKING:
    from mvsa_pipe.runs import Run


def is_tuned(run: "Run") -> bool:
    """Whether a run trained its backbones too, or could have: ``mvsa finetune`` made it."""
    return "finetune" in run.config


def backbone_options(run: "Run", modality: Modality) -> BackboneOptions:
    """The one backbone of one half of a run's posts; a tuned one lies in the run's own folder.

    Raises:
        RunError: The run reads no such half, reads it by several backbones, or its tuned weights
            are missing.
        CacheError: The run does not say which backbone it was made with.
    """
    records = records_of(run, modality)
    if len(records) != 1:
        raise RunError(
            f"This run joins several {modality} backbones"
            if records
            else f"This run reads no {modality}",
            where=run.path,
            expected=f"one {modality} backbone",
        )
    return options_of(run, modality, records[0])


def records_of(run: "Run", modality: Modality) -> list[Mapping[str, Any]]:
    """What a run records of its features of one modality: one entry a backbone."""
    found = run.config["caches"].get(modality.value) or []
    return found if isinstance(found, list) else [found]  # a list where several are joined


def every_backbone(run: "Run") -> list[BackboneOptions]:
    """All backbones of a run, joined ones included.

    Raises:
        RunError: Tuned weights are missing.
        CacheError: The run does not say which backbones it was made with.
    """
    return [
        options_of(run, modality, record)
        for modality in map(Modality, run.config["caches"])
        for record in records_of(run, modality)
    ]


def options_of(run: "Run", modality: Modality, record: Mapping[str, Any]) -> BackboneOptions:
    """The backbone that one of a run's records names.

    Raises:
        RunError: Its tuned weights are missing.
        CacheError: The record does not say which backbone.
    """
    options = backbone_from_record(record.get("backbone"), record.get("path") or run.path)
    if modality.value not in run.config.get("finetune", {}).get("trained", ()):
        return options
    path = run.path / tuned_file(modality)
    if not path.is_file():
        raise RunError(
            f"This run has no checkpoint of its {modality} backbone",
            where=run.path,
            expected=path.name,
            hint="mvsa finetune with the same options makes the run again",
        )
    return replace(options, tuned=str(path.resolve()))
