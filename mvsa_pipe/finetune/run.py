"""Runs a fine-tuning: prepares, trains, scores once, writes a run folder."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.devices import counted_joules, resolve_device, resolve_precision, spent_joules
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.finetune.checkpoint import ResumeFolder
from mvsa_pipe.finetune.initial_run import Start
from mvsa_pipe.finetune.loop import TuneState
from mvsa_pipe.finetune.options import LiveChoice, RunFolderOptions, TuningOptions
from mvsa_pipe.finetune.prepare import LiveExperiment, prepare_live
from mvsa_pipe.finetune.processes import Processes
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head, fill_head, parse_checkpoint
from mvsa_pipe.heads.contract import require_sound
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.provenance import package_versions
from mvsa_pipe.runs import Run, free_name, open_run
from mvsa_pipe.runs.fit import refuse_early, result_of, scored_parts
from mvsa_pipe.runs.inference import predict_data_set
from mvsa_pipe.runs.layout import tuned_file
from mvsa_pipe.runs.metadata import config_record, head_source, origin_of
from mvsa_pipe.runs.options import DataChoice, InferenceOptions
from mvsa_pipe.runs.prepare import needs_of
from mvsa_pipe.runs.save_result import default_run_name, save_run
from mvsa_pipe.tracking.listener import NO_TRACKING, RunToTrack, Tracking
from mvsa_pipe.training.fitting import centre_features
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.state import FittedModel, TrainState
from mvsa_pipe.training.step import make_trainer, training_precision


@dataclass(frozen=True)
class FinetuneSpec:
    """Specification of a fine-tuning run.

    Attributes:
        head: The head's name; by default that of the initial run.
        head_options: Options of the head that differ from their defaults.
        data: The posts and their split.
        choice: The backbones.
        training: How the head is trained.
        tuning: How backbones are trained.
        folder: The initial run, and the folder of the new run.
    """

    head: str | None
    head_options: Mapping[str, OptionValue]
    data: DataChoice
    choice: LiveChoice
    training: TrainingOptions
    tuning: TuningOptions
    folder: RunFolderOptions


def finetune(
    spec: FinetuneSpec,
    processes: Processes,
    progress: Progress,
    tracking: Tracking = NO_TRACKING,
) -> Run | None:
    """Trains backbones and head together, selects the epoch on validation, scores test once.

    Resumes after the last complete epoch when called again with the same options. Of several
    processes the first writes the run and is tracked; the others return ``None``.

    Raises:
        ConfigError: The options cannot be combined.
        MvsaError: From ``prepare_live``; or training diverged, or there is not enough memory.
    """
    for name in ("compiled", "modality_dropout", "feature_noise"):
        if getattr(spec.training, name):
            typed = spec.training.typed(name)
            raise ConfigError(
                f"{typed} only supports training over cached features",
                hint=f"leave it out, or mvsa fit {typed}",
            )
    start = Start(open_run(spec.folder.start)) if spec.folder.start is not None else None
    name, head_options = _head_of(spec, start)
    refuse_early(name, head_options, spec.training)
    device = resolve_device(spec.training.device)
    precision = training_precision(spec.training, device)
    experiment = prepare_live(
        spec.data, spec.choice, spec.tuning, needs_of([name]), start, device, precision,
        spec.training.seed, progress,
    )  # fmt: skip
    for remark in experiment.remarks():
        progress.say(remark)
    head = _built(name, head_options, experiment, spec.training, start, device)
    resume_folder = ResumeFolder.of(spec.folder.runs, _inputs(spec, name, experiment, processes))
    with resume_folder.locked(restart=spec.folder.restart, first=processes.rank == 0):
        processes.wait()  # until the first one has deleted an old checkpoint for --restart
        run_spec = RunSpec(name, spec.training, head_options)
        wanted = spec.folder.name or free_name(
            spec.folder.runs, default_run_name(experiment, name, [spec.training.seed])
        )
        tracked = RunToTrack(wanted, origin_of(experiment) | {"finetune": asdict(spec.tuning)})
        tuning = _tuning(
            head, experiment, spec, run_spec, resume_folder, processes, progress, tracked, tracking
        )
        before = counted_joules(device)
        tuning.run()
        # the energy of one device, unless the run was interrupted
        whole = processes.count == 1 and not tuning.resumed
        joules = spent_joules(before, counted_joules(device)) if whole else None
        run = None if processes.rank else _saved(name, tuning, experiment, spec, joules, progress)
        if run is not None:
            tracking.finished(tracked, run_spec, run.metrics, tuning.train_state.history)
        processes.wait()
    return run


def _head_of(spec: FinetuneSpec, start: Start | None) -> tuple[str, Mapping[str, OptionValue]]:
    if start is not None:
        start.require_head(spec.head, spec.head_options)
        return start.head, start.head_options
    if spec.head is None:
        raise ConfigError(
            "No head was named", expected="--head NAME, or --from RUN", hint="mvsa heads lists them"
        )
    return spec.head, spec.head_options


def _built(
    name: str,
    options: Mapping[str, OptionValue],
    experiment: LiveExperiment,
    training: TrainingOptions,
    start: Start | None,
    device: torch.device,
) -> FusionHead:
    """The head as ``mvsa fit`` would build it, or with the weights of the initial run."""
    training_data = experiment.training_data
    training_data.require_posts()
    require_sound(name, options, training_data.features.sizes)
    head = build_head(name, training_data.features.sizes, training.seed, options, device)
    if not isinstance(head, FusionHead):
        raise ConfigError(
            f"Head {name!r} is fitted by a solver, so no gradient reaches a backbone",
            hint="mvsa heads lists the others",
        )
    if start is not None:
        start.require_split(experiment.split, experiment.posts.classes)
        for modality, tunable in experiment.tunables.items():
            start.require_backbone(modality, tunable.backbone)
        start.fill(head, training_data.features.sizes)
    else:
        centre_features(head, training_data, training, device)
    return head


def _inputs(
    spec: FinetuneSpec, name: str, experiment: LiveExperiment, processes: Processes
) -> dict[str, Any]:
    """Everything that determines the result; its digest identifies an interrupted run."""
    return {
        "head": name,
        **head_source(name),
        "head_options": dict(spec.head_options),
        "protocol": experiment.protocol,
        "training": spec.training.as_record(),
        "tuning": asdict(spec.tuning),
        "image_grid": spec.choice.caches.features.image_grid,
        "start": None if spec.folder.start is None else str(spec.folder.start.resolve()),
        "backbones": {m.value: str(t.backbone.identity) for m, t in experiment.tunables.items()},
        "posts": list(experiment.training_data.features.post_ids),
        "contents": {m.value: digests for m, digests in experiment.digests.items()},
        "labels": experiment.training_data.labels.tolist(),
        "parts": {part: index.tolist() for part, index in experiment.indices.items()},
        "processes": processes.count,
        "versions": package_versions(),
    }


def _tuning(
    head: FusionHead,
    experiment: LiveExperiment,
    spec: FinetuneSpec,
    run_spec: RunSpec,
    resume_folder: ResumeFolder,
    processes: Processes,
    progress: Progress,
    tracked: RunToTrack,
    tracking: Tracking,
) -> TuneState:
    training = spec.training
    device = resolve_device(training.device)
    train_state = TrainState(head, experiment.training_data, run_spec)
    groups: list[dict[str, Any]] = [{"params": list(head.parameters())}]
    for tunable in experiment.tunables.values():
        groups += tunable.groups()
    trainer = make_trainer(
        head,
        training,
        train_state.class_weights(),
        train_state.steps,
        training_precision(training, device),
        device,
        groups,
    )
    micro_batch = spec.tuning.micro_batch
    return TuneState(
        train_state,
        experiment.features,
        experiment.tunables,
        trainer,
        resume_folder,
        processes,
        micro_batch,
        progress,
        tracked,
        tracking,
    )


def _saved(
    name: str,
    tuning: TuneState,
    experiment: LiveExperiment,
    spec: FinetuneSpec,
    joules: float | None,
    progress: Progress,
) -> Run:
    """Scores the best epoch's weights by the code of ``mvsa evaluate``, and writes the run."""
    training, train_state = spec.training, tuning.train_state
    best = tuning.resume_folder.best(train_state.best)
    head = tuning.head
    fill_head(head, parse_checkpoint((best / head.file).read_bytes(), best), best)
    steps = len(train_state.history) * train_state.steps_an_epoch
    fitted = FittedModel(
        head.eval(), train_state.history, train_state.best, train_state.seconds, steps
    )
    precision = tuning.trainer.precision.value
    scored = replace(
        experiment, fingerprints=_fingerprints(tuning, best, training.device, precision)
    )
    more_config = {"finetune": _record(spec, tuning, experiment)}
    unsaved = Run(best, config_record(scored, name, head, training) | more_config, {})
    began = time.perf_counter()
    probabilities = {
        part: _probabilities(unsaved, head, scored, part, spec, progress)
        for part in scored_parts(scored)
    }
    result = result_of(scored, name, training, fitted, probabilities, began)
    result.record["parameters_trained"] = {
        "head": head.parameter_count,
        **{m.value: tunable.parameters_trained for m, tunable in tuning.tunables.items()},
    }
    result.record["resumed_after_epochs"] = tuning.resumed
    result.record["energy_joules"] = joules
    more = {tuned_file(m): best / tuned_file(m) for m in tuning.trained}
    return save_run(scored, result, training, spec.folder.runs, spec.folder.name, more_config, more)


def _fingerprints(
    tuning: TuneState, best: Path, device: str, precision: str
) -> dict[Modality, Fingerprint]:
    """Fingerprints of the tuned backbones' features, from the files of their weights."""
    where = resolve_device(device)
    found = {}
    for modality, tunable in tuning.tunables.items():
        options = tunable.options
        if tunable.trained:
            options = replace(options, tuned=str(best / tuned_file(modality)))
        arithmetic = resolve_precision(precision, where)
        forward = Forward(load_backbone(options), where, arithmetic, StoredDtype.FLOAT32)
        found[modality] = forward.fingerprint
    return found


def _record(spec: FinetuneSpec, tuning: TuneState, experiment: LiveExperiment) -> dict[str, Any]:
    return {
        **asdict(spec.tuning),
        "trained": [modality.value for modality in tuning.trained],
        "from": None if spec.folder.start is None else str(spec.folder.start.resolve()),
        "processes": tuning.processes.count,
        "on_bad_post": spec.choice.on_bad_post.value,
        "backbones": {m.value: t.options.as_record() for m, t in experiment.tunables.items()},
    }


def _probabilities(
    run: Run,
    head: FusionHead,
    experiment: LiveExperiment,
    part: str,
    spec: FinetuneSpec,
    progress: Progress,
) -> NDArray[np.float32]:
    """Probabilities of a part, by the code of ``mvsa evaluate``."""
    post_ids = experiment.training_data.features.post_ids
    ids = [post_ids[i] for i in experiment.indices[part].tolist()]
    options = InferenceOptions(device=spec.training.device, decode=spec.choice.decode)
    return predict_data_set(run, head, experiment.posts, ids, options, progress).probabilities
