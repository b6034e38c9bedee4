"""Trains missing runs of pairs of backbones × heads × settings × seeds, and summarises all runs."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from mvsa_pipe.benches.at_work import BenchProgress
from mvsa_pipe.benches.backbone_pairs import (
    chosen_pairs,
    pair_label,
    require_preset,
    served_heads,
    skipped_by_any,
    with_preset,
)
from mvsa_pipe.benches.blends import blended
from mvsa_pipe.benches.loaded import LoadedBench, LoadSpec
from mvsa_pipe.benches.matched_parameters import MatchedHead, in_words, matched_heads
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.outcomes import Outcome, RunFolders
from mvsa_pipe.benches.summary import Bench, BenchContext, summarise
from mvsa_pipe.benches.train_missing import outcomes_of
from mvsa_pipe.benches.trials import Trial
from mvsa_pipe.benches.variations import Setting, settings_of
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.disk import inside
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import ConfigError, MvsaError
from mvsa_pipe.posts.splits.cross_validation import fold_names
from mvsa_pipe.posts.splits.make_split import AUTO
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import free_name
from mvsa_pipe.runs.fit import reason_alone, refuse_early
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.runs.save_result import default_run_name
from mvsa_pipe.tracking.listener import NO_TRACKING, Tracking
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.stacking import Alone

# Hexadecimal digits of a run's digest in the name of its folder.
_NAMED_DIGITS = 12


def alone_remarks(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """One line about heads whose runs cannot share a stack, if that makes a difference.

    It does if a head has several runs, or if runs should be compiled.

    Args:
        experiment: Posts and features.
        trials: All runs of the bench over this pair of backbones.
    """
    compiled = any(trial.spec.training.compiled for trial in trials)
    if not compiled and all(one.spec.head != other.spec.head for one, other in pairwise(trials)):
        return []
    reasons: dict[Alone, list[str]] = {}
    for trial in {(t.spec.head, t.setting): t for t in trials}.values():
        spec = trial.spec
        try:
            reason = reason_alone(experiment, spec.head, spec.head_options, spec.training)
        except MvsaError:  # the error is reported when its runs fail
            continue
        if reason is not None and spec.head not in reasons.setdefault(reason, []):
            reasons[reason].append(spec.head)
    if not reasons:
        return []
    listed = [f"heads {reason} ({', '.join(heads)})" for reason, heads in reasons.items()]
    return [f"trained one by one{', uncompiled' if compiled else ''}: {'; '.join(listed)}"]


def run_bench(
    data: DataChoice,
    caches: CacheChoice,
    options: BenchOptions,
    training: TrainingOptions,
    progress: Progress,
    runs: Path | None = None,
    tracking: Tracking = NO_TRACKING,
) -> Bench:
    """Trains every head in every setting with every seed, over one or several pairs of backbones.

    The features of a pair are loaded once and freed before those of the next pair are loaded. All
    pairs are trained and tested on the same posts.

    Args:
        data: The posts and their split.
        caches: Their features; comma-separated backbones are compared.
        options: Heads, settings and seeds.
        training: Options of training.
        progress: Notified of runs.
        runs: The folder of all runs; every run is written there as it ends, and existing runs are
            not trained again.
        tracking: Records the runs that are trained, too.

    Raises:
        ConfigError: ``resplit`` with a fixed split, a setting that cannot be used, or backbones
            that no head reads.
        StatesNotKeptError: A named head reads hidden states that were not kept. Unless heads are
            named, such heads are left out, and a message says so.
        RunError: A run's folder is damaged, or contains another run.
        MvsaError: From ``prepare``. A failed run is recorded with its error, and the others are
            trained.
    """
    began, loading = time.perf_counter(), 0.0
    options = options.named()
    heads, settings = options.chosen_heads(), settings_of(options.vary, training)
    folds = fold_names(options.folds) if options.folds else ("",)
    data = replace(data, split=_first_fold(data, folds[0])) if options.folds else data
    caches = with_preset(caches, options.preset)
    pairs = chosen_pairs(caches, heads)
    if options.blend and len(pairs) == 1:
        raise ConfigError(
            "--blend averages runs over different backbones, and one pair is named",
            expected="--text A,B or --image A,B",
        )
    _refuse_early(data, options, settings)
    require_preset(data, caches, options.preset, heads)
    options = _served(data, pairs, options, progress)
    heads = options.chosen_heads()
    without = skipped_by_any(data, pairs, heads)
    shown = BenchProgress(
        progress, len(pairs) * len(heads) * len(settings) * options.seeds * len(folds)
    )
    first_split = training.seed if options.resplit else None
    folders, contexts, names = RunFolders(runs), [], []
    rows: list[list[Outcome]] = []
    known: dict[str, Outcome] = {}
    matched: list[MatchedHead] = []
    for pair in pairs:
        since = time.perf_counter()
        load_spec = LoadSpec(data, pair, heads, first_split, without)
        loaded = load_spec.load()
        if options.resplit:
            _refuse_fixed_split(loaded.first.data.split)
        loaded.to(resolve_device(training.device))
        loading += time.perf_counter() - since
        chosen = _matched(loaded, settings, options, pair_label(pair, caches), progress)
        every = _every_trial(loaded, settings, options, folds, (pair, caches), chosen)
        # A head that reads one modality was trained over an earlier pair with that backbone.
        trials = [trial for trial in every if trial.digest not in known]
        shown.recorded(len(every) - len(trials))
        matched += [head for heads in chosen for head in heads.values()]
        for remark in loaded.first.remarks() + alone_remarks(loaded.first, trials):
            progress.say(remark)
        outcomes = outcomes_of(
            loaded, trials, load_spec, options, folders, progress, shown, tracking
        )
        rows += [
            [outcomes[trial.digest] for trial in row]
            for row in _rows(trials, options.seeds * len(folds))
        ]
        known |= outcomes
        contexts.append(BenchContext.of(loaded.first))
        names.append(loaded.first.backbones)
        del loaded  # before the features of the next pair are read
    seconds = {"loading": loading, "wall": time.perf_counter() - began}
    bench = summarise(contexts[0], names, rows, seconds, resplit=options.resplit)
    blends = blended(bench, contexts[0].classes) if options.blend else []
    bench = replace(bench, matched=matched, blends=blends)
    if options.folds:
        return replace(bench, protocol=re.sub(r"/fold-\d+$", "/all-folds", bench.protocol))
    return bench


def _first_fold(data: DataChoice, fold: str) -> str:
    """The split that features are loaded for.

    Raises:
        ConfigError: Another split is named beside folds.
    """
    if data.split != AUTO:
        raise ConfigError(
            "--folds and --split exclude each other",
            expected="--folds alone: each fold is a split",
            found=f"--split {data.split}",
        )
    return fold


def _served(
    data: DataChoice, pairs: Sequence[CacheChoice], options: BenchOptions, progress: Progress
) -> BenchOptions:
    """The same bench without heads that read what was not kept; one that is named is refused."""
    if options.heads and len(pairs) == 1:
        return options  # loading their features refuses them
    heads, lacking = served_heads(data, pairs, options.chosen_heads())
    if lacking and options.heads:
        raise lacking[0]
    for error in lacking:
        progress.say(f"left out: {error.paragraph()}")
    return replace(options, heads=heads)


def _refuse_early(data: DataChoice, options: BenchOptions, settings: Sequence[Setting]) -> None:
    if options.resplit and data.split != AUTO:
        _refuse_fixed_split(data.split)
    for head in options.chosen_heads():
        for setting in settings:
            refuse_early(head, setting.head_options, setting.training)


def _refuse_fixed_split(split: str) -> None:
    if not split.startswith("random"):
        raise ConfigError(
            "--resplit needs a random split, not a fixed one",
            expected="--split random-TRAIN:VAL:TEST",
            found=split,
        )


def _matched(
    loaded: LoadedBench,
    settings: Sequence[Setting],
    options: BenchOptions,
    pair: str,
    progress: Progress,
) -> list[dict[str, MatchedHead]]:
    """The chosen width of each head, by setting; none unless they are asked for."""
    if not options.match_parameters:
        return [{} for _ in settings]
    sizes = loaded.first.training_data.features.sizes
    found = [matched_heads(options, sizes, setting.head_options) for setting in settings]
    for setting, heads in zip(settings, found, strict=True):
        where = "".join(f", {label}" for label in (pair, setting.label) if label)
        progress.say(f"{in_words(heads)}{where}")
    return [{head.head: head for head in heads} for heads in found]


def _every_trial(
    loaded: LoadedBench,
    settings: Sequence[Setting],
    options: BenchOptions,
    folds: Sequence[str],
    pair: tuple[CacheChoice, CacheChoice],
    matched: Sequence[Mapping[str, MatchedHead]],
) -> list[Trial]:
    """All trials of a pair, named among all pairs, ordered by head, setting, fold and seed."""
    start = settings[0].training.seed
    seeds = range(start, start + options.seeds)
    splits = {seed: seed if options.resplit else None for seed in seeds}
    trials = []
    for head in options.chosen_heads():
        label = pair_label(*pair, head)
        for setting, of_heads in zip(settings, matched, strict=True):
            own = of_heads.get(head)
            head_options = setting.head_options | (own.options if own else {})
            for fold, seed in product(folds, seeds):
                training = replace(setting.training, seed=seed)
                spec = RunSpec(head, training, head_options, splits[seed], fold)
                digest = loaded.digest_for(spec)
                name = run_folder_name(loaded.read_for(spec), spec, digest)
                budget = own.budget if own and own.option else 0
                trials.append(Trial(spec, setting.label, label, digest, name, budget))
    return trials


def run_folder_name(experiment: Experiment, spec: RunSpec, digest: str) -> str:
    """The name of a trial's run folder: head, data, seed, and the first digits of its digest."""
    name = default_run_name(experiment, spec.head, [spec.training.seed])
    return f"{name}-{digest[:_NAMED_DIGITS]}"


def _rows(trials: Sequence[Trial], seeds: int) -> Iterator[Sequence[Trial]]:
    return (trials[start : start + seeds] for start in range(0, len(trials), seeds))


def save_bench(bench: Bench, runs: Path, more: Mapping[str, Any] | None = None) -> Path:
    """Writes the summary and the index of its runs into the folder of runs; returns the file.

    Args:
        bench: The bench.
        runs: The folder of all runs.
        more: Further entries of the record, such as its analysis.

    Raises:
        StorageError: The disk refuses.
    """
    dataset = bench.protocol.partition("/")[0]
    path = inside(runs, free_name(runs, f"bench-{dataset}")) / "bench.json"
    write_json(path, bench.as_record() | dict(more or {}))
    return path
