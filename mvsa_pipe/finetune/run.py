"""One fine-tuning from end to end: prepared, trained, scored once, written as a run folder."""

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
from mvsa_pipe.features.batch import POOLED
from mvsa_pipe.features.source import batch_of
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
from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.fit import refuse_early, result_of, scored_parts
from mvsa_pipe.runs.inference import predict_data_set
from mvsa_pipe.runs.layout import tuned_file
from mvsa_pipe.runs.metadata import config_record, head_source
from mvsa_pipe.runs.options import DataChoice, InferenceOptions
from mvsa_pipe.runs.prepare import needs_of
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.state import FittedModel, TrainState
from mvsa_pipe.training.step import make_trainer, training_precision


@dataclass(frozen=True)
class FinetuneSpec:
    """Everything that a fine-tuning was asked for.

    Attributes:
        head: The head's name; of the run that it starts from unless named.
        head_options: Options of the head that differ from their defaults.
        data: Which posts, split how.
        choice: Which backbones.
        training: How the head is trained.
        tuning: How backbones are.
        place: Where it starts from, and where it goes.
    """

    head: str | None
    head_options: Mapping[str, OptionValue]
    data: DataChoice
    choice: LiveChoice
    training: TrainingOptions
    tuning: TuningOptions
    place: RunFolderOptions


def finetune(wanted: FinetuneSpec, processes: Processes, progress: Progress) -> Run | None:
    """Trains backbones and head together, picks the epoch on validation, scores the test part once.

    An interrupted one goes on behind its last whole epoch when the same is asked for again. Of
    several processes the first writes the run; the others return ``None``.

    Raises:
        ConfigError: What was asked for cannot be done.
        MvsaError: As ``prepare_live``; or training diverged, or memory does not suffice.
    """
    if processes.count > 1 and wanted.tuning.update_batch_norm:
        raise ConfigError(
            "--update-batch-norm would let every process follow batches of its own",
            found=f"{processes.count} processes",
            hint="leave it out, or train in one process",
        )
    if wanted.training.compiled:
        raise ConfigError(
            "--compile is for steps over cached features; what is trained here are the backbones",
            hint="leave it out",
        )
    start = Start(open_run(wanted.place.start)) if wanted.place.start is not None else None
    name, head_options = _head_of(wanted, start)
    refuse_early(name, head_options, wanted.training)
    device = resolve_device(wanted.training.device)
    precision = training_precision(wanted.training, device)
    experiment = prepare_live(
        wanted.data, wanted.choice, wanted.tuning, needs_of([name]), start, device, precision,
        wanted.training.seed, progress,
    )  # fmt: skip
    for remark in experiment.remarks():
        progress.say(remark)
    head = _built(name, head_options, experiment, wanted.training, start, device)
    workplace = ResumeFolder.of(wanted.place.runs, _question(wanted, name, experiment, processes))
    with workplace.held(restart=wanted.place.restart, watch=processes.rank == 0):
        processes.wait()  # until the first has cleared what --restart throws away
        spec = RunSpec(name, wanted.training, head_options)
        tuning = _tuning(head, experiment, wanted, spec, workplace, processes, progress)
        before = counted_joules(device)
        tuning.run()
        # counted on one card, since the last interruption
        whole = processes.count == 1 and not tuning.resumed
        joules = spent_joules(before, counted_joules(device)) if whole else None
        run = None if processes.rank else _saved(name, tuning, experiment, wanted, joules, progress)
        processes.wait()
    return run


def _head_of(wanted: FinetuneSpec, start: Start | None) -> tuple[str, Mapping[str, OptionValue]]:
    if start is not None:
        start.require_head(wanted.head, wanted.head_options)
        return start.head, start.head_options
    if wanted.head is None:
        raise ConfigError(
            "No head was named", expected="--head NAME, or --from RUN", hint="mvsa heads lists them"
        )
    return wanted.head, wanted.head_options


def _built(
    name: str,
    options: Mapping[str, OptionValue],
    experiment: LiveExperiment,
    training: TrainingOptions,
    start: Start | None,
    device: torch.device,
) -> FusionHead:
    """The head as ``mvsa fit`` would build it, or as it was fitted."""
    training_data = experiment.training_data
    training_data.require_posts()
    require_sound(name, options, training_data.features.sizes)
    head = build_head(name, training_data.features.sizes, training.seed, options, device)
    if not isinstance(head, FusionHead):
        raise ConfigError(
            f"Head {name!r} is fitted at once, so that no gradient reaches a backbone",
            hint="mvsa heads lists the others",
        )
    if start is not None:
        start.require_split(experiment.split, experiment.posts.classes)
        for modality, tunable in experiment.tunables.items():
            start.require_backbone(modality, tunable.backbone)
        start.fill(head, training_data.features.sizes)
    elif training.centre and head.centres and head.needs & POOLED:
        with torch.no_grad():
            pooled = batch_of(training_data.features, training_data.train, head.needs & POOLED)
            head.centre(pooled.to(device))
    return head


def _question(
    wanted: FinetuneSpec, name: str, experiment: LiveExperiment, processes: Processes
) -> dict[str, Any]:
    """Everything that decides the result, by which an interrupted run is found again."""
    return {
        "head": name,
        **head_source(name),
        "head_options": dict(wanted.head_options),
        "protocol": experiment.protocol,
        "training": asdict(wanted.training),
        "tuning": asdict(wanted.tuning),
        "image_grid": wanted.choice.caches.features.image_grid,
        "start": None if wanted.place.start is None else str(wanted.place.start.resolve()),
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
    wanted: FinetuneSpec,
    spec: RunSpec,
    workplace: ResumeFolder,
    processes: Processes,
    progress: Progress,
) -> TuneState:
    training = spec.training
    device = resolve_device(training.device)
    train_state = TrainState(head, experiment.training_data, spec)
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
    micro_batch = wanted.tuning.micro_batch
    return TuneState(
        train_state,
        experiment.features,
        experiment.tunables,
        trainer,
        workplace,
        processes,
        micro_batch,
        progress,
    )


def _saved(
    name: str,
    tuning: TuneState,
    experiment: LiveExperiment,
    wanted: FinetuneSpec,
    joules: float | None,
    progress: Progress,
) -> Run:
    """Scores the best epoch's weights as ``mvsa evaluate`` will, and writes the run."""
    training, train_state = wanted.training, tuning.train_state
    best = tuning.workplace.best(train_state.best)
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
    more_config = {"finetune": _record(wanted, tuning, experiment)}
    unsaved = Run(best, config_record(scored, name, head, training) | more_config, {})
    began = time.perf_counter()
    probabilities = {
        part: _probabilities(unsaved, head, scored, part, wanted, progress)
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
    return save_run(
        scored, result, training, wanted.place.runs, wanted.place.name, more_config, more
    )


def _fingerprints(
    tuning: TuneState, best: Path, device: str, precision: str
) -> dict[Modality, Fingerprint]:
    """The identity of the tuned backbones' features, from the files that hold the weights."""
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


def _record(wanted: FinetuneSpec, tuning: TuneState, experiment: LiveExperiment) -> dict[str, Any]:
    return {
        **asdict(wanted.tuning),
        "trained": [modality.value for modality in tuning.trained],
        "from": None if wanted.place.start is None else str(wanted.place.start.resolve()),
        "processes": tuning.processes.count,
        "on_bad_post": wanted.choice.on_bad_post.value,
        "backbones": {m.value: t.options.as_record() for m, t in experiment.tunables.items()},
    }


def _probabilities(
    run: Run,
    head: FusionHead,
    experiment: LiveExperiment,
    part: str,
    wanted: FinetuneSpec,
    progress: Progress,
) -> NDArray[np.float32]:
    """Probabilities of a part, computed as ``mvsa evaluate`` computes them."""
    post_ids = experiment.training_data.features.post_ids
    ids = [post_ids[i] for i in experiment.indices[part].tolist()]
    options = InferenceOptions(device=wanted.training.device, decode=wanted.choice.decode)
    return predict_data_set(run, head, experiment.posts, ids, options, progress).probabilities
