"""Writes a run as a folder that needs nothing else, whole or not at all."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mvsa_pipe.disk import storage_errors
from mvsa_pipe.durable import whole_folder, write_bytes, write_json
from mvsa_pipe.errors import MvsaError, StorageError
from mvsa_pipe.export.backbone import run_backbone, write_backbone
from mvsa_pipe.export.card import model_card
from mvsa_pipe.export.check_inputs import TEXTS, head_batches, model_batches, pictures
from mvsa_pipe.export.layout import CARD, CONFIG, EXPORT_SCHEMA, HEAD_ONNX, MODEL_ONNX
from mvsa_pipe.export.model import ExportedModel, needed, open_exported
from mvsa_pipe.export.onnx_files import OnnxFile, write_onnx
from mvsa_pipe.export.onnx_graphs import HeadGraph, ModelGraph
from mvsa_pipe.export.options import INSTALL, ExportOptions, missing_packages
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.heads.own import SOURCE, SOURCE_FILE, recorded_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.provenance import now, package_versions
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.inference import answers_one_half, load_head
from mvsa_pipe.user_code import origin_of, source_file

_CPU = "cpu"

# Steps of an export after loading backbones: writing and comparing, and one per ONNX file.
_STEPS, _ONNX_STEPS = 2, 2


@dataclass(frozen=True)
class Exported:
    """An exported folder.

    Attributes:
        folder: The folder.
        files: Bytes of every file, by its path inside.
        onnx: What was written as ONNX, and what could not be.
    """

    folder: Path
    files: dict[str, int]
    onnx: tuple[OnnxFile, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "folder": str(self.folder),
            "files": self.files,
            "onnx": [file.as_record() for file in self.onnx],
        }


def export_run(run: Run, options: ExportOptions, progress: Progress) -> Exported:
    """Writes a run's head and backbones with all that they need, and proves that they load.

    The folder appears under its name only when all its files are there, a model loaded from them
    alone has given the very probabilities of the run's own, and every ONNX file has given them to
    ``TOLERANCE``.

    Raises:
        StorageError: The target already exists, or the disk refuses.
        RunError: The checkpoint is missing or does not fit.
        BackboneError: Weights of the run's backbones cannot be loaded.
        CacheError: They are no longer what they were.
        MvsaError: What was written computes something else.
    """
    target = options.output
    with storage_errors(target):
        if target.exists():
            raise _taken(target)
    model = _model_of(run, progress, options.head, options.onnx)
    try:
        with whole_folder(target) as folder:
            onnx = _fill(folder, run, model, options, progress)
            files = {
                str(path.relative_to(folder)): path.stat().st_size
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
    except FileExistsError as error:
        raise _taken(target) from error
    return Exported(target, files, onnx)


def _taken(target: Path) -> StorageError:
    return StorageError(
        "The target of the export already exists",
        where=target,
        hint="name another --output FOLDER, or move that away",
    )


def _model_of(run: Run, progress: Progress, named: str | None, onnx: bool | None) -> ExportedModel:
    """The run's head on the run's backbones."""
    head = load_head(run, _CPU, progress, named)
    parts = {}
    modalities = needed(head)
    steps = len(modalities) + _STEPS + (0 if onnx is False or _without_onnx(head) else _ONNX_STEPS)
    progress.start("export", steps, "steps")
    for modality in modalities:
        progress.say(f"loading the {modality} backbone")
        parts[modality] = run_backbone(run, modality)
        progress.advance(1)
    classes, grid = tuple(run.config["data"]["classes"]), int(run.config["image_grid"])
    one_half = answers_one_half(run.config["training"], head)
    return ExportedModel(classes, head, parts, grid, head.device, one_half)


def _fill(
    folder: Path, run: Run, model: ExportedModel, options: ExportOptions, progress: Progress
) -> tuple[OnnxFile, ...]:
    progress.say("writing head and backbones")
    write_bytes(folder / model.head.file, model.head.dump())
    kind, _ = recorded_head(run.config, run.path, options.head)
    source = source_file(kind)
    if source is not None:
        write_bytes(folder / SOURCE_FILE, source)
    for modality, part in model.parts.items():
        write_backbone(part, folder, modality)
    config = _config(run, model) | _source_record(kind)
    write_json(folder / CONFIG, config)
    progress.advance(1)
    progress.say("loading what was written, and comparing it with the run")
    _prove(folder, model)
    progress.advance(1)
    onnx = () if options.onnx is False else tuple(_onnx(folder, model, progress))
    config["onnx"] = [file.as_record() for file in onnx]
    write_json(folder / CONFIG, config)
    backbones = [part.options.name for part in model.parts.values()]
    write_bytes(folder / CARD, model_card(config, backbones).encode())
    return onnx


def _onnx(folder: Path, model: ExportedModel, progress: Progress) -> list[OnnxFile]:
    if fault := _without_onnx(model.head):
        return [OnnxFile(f"{HEAD_ONNX} and {MODEL_ONNX}", {}, None, fault)]
    assert isinstance(model.head, FusionHead)  # noqa: S101  # others are without
    progress.say(f"writing {HEAD_ONNX}")
    head = write_onnx(HeadGraph(model.head), head_batches(model.head), folder / HEAD_ONNX)
    progress.advance(1)
    progress.say(f"writing {MODEL_ONNX}")
    graph = ModelGraph(model, model.head)
    whole = write_onnx(graph, model_batches(model), folder / MODEL_ONNX)
    progress.advance(1)
    return [head, whole]


def _without_onnx(head: Model) -> str | None:
    """Why no ONNX file can be written; ``None`` if it can."""
    if not isinstance(head, FusionHead):
        return "no ONNX graph is written for baselines of scikit-learn"
    missing = missing_packages()
    return f"ONNX needs {missing}; next: {INSTALL}" if missing else None


def _prove(folder: Path, model: ExportedModel) -> None:
    """Holds a model loaded from the folder alone against the run's own, bit for bit."""
    texts = list(TEXTS) if Modality.TEXT in model.parts else None
    images = None
    if Modality.IMAGE in model.parts:
        images = [_png(image) for image in pictures(len(TEXTS))]
    loaded = open_exported(folder, _CPU)
    found, expected = (m.predict_proba(texts, images) for m in (loaded, model))
    if not np.array_equal(found, expected):
        raise MvsaError(
            "What was written gives other probabilities than the run, so nothing is left of it",
            where=folder,
            hint="please report this with the run's config.json",
        )


def _png(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _source_record(kind: type[Model]) -> dict[str, dict[str, str]]:
    """Where the class of an own head comes from; its file lies in the folder."""
    origin = origin_of(kind)
    if origin is None:
        return {}
    return {SOURCE: replace(origin, file=SOURCE_FILE if origin.file else "").as_record()}


def _config(run: Run, model: ExportedModel) -> dict[str, Any]:
    """Everything that the folder's model was made from, free of this machine's paths."""
    config, metrics = run.config, run.metrics
    data = config["data"]
    kept = ("protocol", "selected", "selected_by", "posts", "scores", "references", "seed")
    return {
        "exported_schema": EXPORT_SCHEMA,
        "exported": now(),
        "head": config["head"],
        "head_options": config["head_options"],
        "sizes": config["sizes"],
        **({"seeds": config["seeds"]} if "seeds" in config else {}),
        "classes": list(model.classes),
        "image_grid": model.image_grid,
        "batch_independent": model.head.batch_independent,
        "backbones": {m.value: part.as_record() for m, part in model.parts.items()},
        "fine_tuned": "finetune" in config,
        "training": config["training"],
        "data": {
            "name": data["name"],
            "split": Path(data["split"]).name,
            "split_seed": data["split_seed"],
        },
        "run": {key: metrics.get(key) for key in kept},
        "trained_with": config.get("versions"),
        "exported_with": package_versions(),
    }
