"""The backbones of a run, with fine-tuned weights if it has any."""

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
    """Whether ``mvsa finetune`` made the run."""
    return "finetune" in run.config


def backbone_options(run: "Run", modality: Modality) -> BackboneOptions:
    """The only backbone of one modality of a run; tuned weights are in the run's folder.

    Raises:
        RunError: The run does not read the modality, joins several backbones of it, or its tuned
            weights are missing.
        CacheError: The run does not record its backbone.
    """
    records = records_of(run, modality)
    if len(records) != 1:
        raise RunError(
            f"This run joins several {modality} backbones"
            if records
            else f"This run does not read {modality}",
            where=run.path,
            expected=f"one {modality} backbone",
        )
    return options_of(run, modality, records[0])


def records_of(run: "Run", modality: Modality) -> list[Mapping[str, Any]]:
    """A run's records of its features of one modality, one per backbone."""
    found = run.config["caches"].get(modality.value) or []
    return found if isinstance(found, list) else [found]  # a list where several are joined


def every_backbone(run: "Run") -> list[BackboneOptions]:
    """All backbones of a run, joined ones included.

    Raises:
        RunError: Tuned weights are missing.
        CacheError: The run does not record its backbones.
    """
    return [
        options_of(run, modality, record)
        for modality in map(Modality, run.config["caches"])
        for record in records_of(run, modality)
    ]


def options_of(run: "Run", modality: Modality, record: Mapping[str, Any]) -> BackboneOptions:
    """The backbone of one of a run's records.

    Raises:
        RunError: Its tuned weights are missing.
        CacheError: The record does not name the backbone.
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
