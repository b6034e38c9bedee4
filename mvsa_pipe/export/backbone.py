"""The backbones of a run as it used them: loaded, written into an exported folder, and read again.

``run_backbone`` is the one place that knows where a run's backbones come from: those that its
caches were extracted with, under the weights that fine-tuning left in the run's folder, if it did.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES, load_backbone, takes_pooling
from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.from_record import backbone_from_record, renewed_preprocessing
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.weights import replace_weights
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.disk import make_folder, storage_errors
from mvsa_pipe.errors import MvsaError, RunError
from mvsa_pipe.export.layout import weights_file
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.layers import Keep, Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import options_of, records_of
from mvsa_pipe.runs.forwards import load_forward


@dataclass(frozen=True)
class RunBackbone:
    """A backbone and how a run used it.

    Attributes:
        backbone: The frozen network, on the CPU.
        options: How it is built again; its name is free of this machine's paths.
        precision: Arithmetic of the features that the head was trained on.
        dtype: Type in which they were stored.
    """

    backbone: TextBackbone | ImageBackbone
    options: BackboneOptions
    precision: Precision
    dtype: StoredDtype

    def on(self, device: torch.device) -> Forward[Any]:
        """The backbone as it computes on the device that it is on."""
        return Forward(self.backbone, device, self.precision, self.dtype)

    def as_record(self) -> dict[str, Any]:
        """Its entry in an exported folder's ``config.json``."""
        identity, options = self.backbone.identity, self.options
        return {
            "name": options.name,
            "pooling": identity.pooling if takes_pooling(options.name) else None,
            "max_tokens": options.max_tokens,
            "prompt": options.prompt,
            "precision": self.precision.value,
            "dtype": self.dtype.value,
            "weights": identity.weights,
            "preprocessing": dict(identity.preprocessing),
            "width": self.backbone.width,
        }


def run_backbone(run: Run, modality: Modality) -> RunBackbone:
    """Loads the backbone of one modality of a run, with the run's arithmetic and type.

    Raises:
        RunError: The run joins several, does not say which it used, or cannot be exported.
        BackboneError: Its weights cannot be loaded.
        CacheError: They are no longer those that the run was trained on.
    """
    records = records_of(run, modality)
    if len(records) != 1:
        raise RunError(
            f"Only runs of one {modality} backbone can be exported",
            where=run.path,
            found=f"{len(records)} {modality} backbones",
            hint="mvsa fit with one backbone a modality makes such a run",
        )
    (record,) = records
    fingerprint = Fingerprint.from_json(record["fingerprint"])
    if fingerprint.keep is Keep.ALL and fingerprint.layers != Layers.LAST:
        raise RunError(
            "Only runs over the last layer of a backbone can be exported",
            where=run.path,
            found=f"a cache of {modality} layers {fingerprint.layers!r}",
            hint="mvsa fit over a cache of --layers last makes such a run",
        )
    options = options_of(run, modality, record)
    forward = load_forward(run, modality, record, torch.device("cpu"))
    name = options.name if options.folder is None else f"{options.family}:{options.folder.name}"
    return RunBackbone(
        forward.backbone,
        replace(options, name=name, weights=None, tuned=None),
        forward.precision,
        forward.dtype,
    )


def write_backbone(part: RunBackbone, folder: Path, modality: Modality) -> None:
    """Writes a backbone's weights and what prepares its input.

    Raises:
        StorageError: The disk refuses.
    """
    file = weights_file(folder, modality)
    make_folder(file.parent)
    state = part.backbone.module.state_dict()
    # Copies, as safetensors refuses tensors that share their memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    with storage_errors(file):
        save_file(tensors, file)
        part.backbone.describe_beside(file.parent)


def read_backbone(folder: Path, modality: Modality, record: Mapping[str, Any]) -> RunBackbone:
    """Reads what ``write_backbone`` wrote, and makes sure that it is that.

    Raises:
        RunError: It is missing, damaged, or something else.
    """
    file = weights_file(folder, modality)
    try:
        options = backbone_from_record({**record, "weights": None}, file)
        backbone = _built(options, file)
    except MvsaError as error:
        raise RunError(
            f"The {modality} backbone of this exported folder cannot be loaded",
            where=error.where or file,
            found=error.what if error.found is None else f"{error.what}: {error.found}",
            hint="mvsa export writes it again",
        ) from error
    precision, dtype = Precision(record["precision"]), StoredDtype(record["dtype"])
    part = RunBackbone(backbone, options, precision, dtype)
    now = part.as_record()
    record = {**record, "preprocessing": renewed_preprocessing(record["preprocessing"])}
    changed = [key for key in now if now[key] != record.get(key)]
    if changed:
        raise RunError(
            f"The {modality} backbone of this exported folder is not the one that was written",
            where=file.parent,
            expected="; ".join(f"{key} {record.get(key)}" for key in changed),
            found="; ".join(f"{key} {now[key]}" for key in changed),
            hint="mvsa export writes it again",
        )
    return part


def _built(options: BackboneOptions, file: Path) -> TextBackbone | ImageBackbone:
    table = TEXT_BACKBONES if options.modality is Modality.TEXT else IMAGE_BACKBONES
    if table.load(options.family).takes_weights:
        return load_backbone(replace(options, weights=str(file)))
    backbone = load_backbone(options)
    replace_weights(backbone, file)
    return backbone
