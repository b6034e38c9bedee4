"""Trains a run again from its record, and says whether the result is the same.

Posts are read as they were, divided as ``split.csv`` says, and checked against the recorded
contents; caches are found by their fingerprints. The old folder is only read.
"""

import shlex
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.devices import cpu_threads, resolve_device
from mvsa_pipe.errors import FIT_AGAIN, DataError, MvsaError, RunError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.heads.own import SOURCE, add_recorded_head, head_origin
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, Split, read_posts
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Member, Run, RunContents, refuse_taken, write_run
from mvsa_pipe.runs.backbones import is_tuned
from mvsa_pipe.runs.ensemble import run_ensemble
from mvsa_pipe.runs.fit import FitResult, reason_alone, refuse_early, try_run_heads
from mvsa_pipe.runs.forwards import feature_options
from mvsa_pipe.runs.inference import files_of_run
from mvsa_pipe.runs.layout import CONFIG, SPLIT
from mvsa_pipe.runs.options import (
    CacheChoice,
    DataChoice,
    InferenceOptions,
    ReproduceOptions,
)
from mvsa_pipe.runs.prepare import Experiment, experiment_of, needs_of
from mvsa_pipe.runs.reproduction import Reproduction, compare_with
from mvsa_pipe.runs.save_result import run_contents
from mvsa_pipe.runs.schema import training_options
from mvsa_pipe.runs.scored_posts import changed_members, describe_changes
from mvsa_pipe.training.epochs import FitProgress
from mvsa_pipe.training.options import RunSpec, TrainingOptions


def reproduce(run: Run, options: ReproduceOptions, progress: Progress) -> Reproduction:
    """Trains a run again from its record and compares predictions, epoch, history and scores.

    Args:
        run: The run.
        options: Where posts and caches are, and where the new run goes.
        progress: Notified of extractions and of the training.

    Raises:
        RunError: The run was fine-tuned, its record is damaged, or ``output`` cannot be used.
        DataError: Its posts are missing or have changed.
        MvsaError: From ``files_of_run`` and ``try_run_heads``.
    """
    _refuse_tuned(run)
    if options.output is not None:
        _refuse_output(run, options.output)
    training = _training(run, options)
    _, remark = add_recorded_head(run.config, run.path, options.head)
    head = str(run.config["head"])
    refuse_early(head, run.config["head_options"], training)
    posts = _posts(run, options)
    experiment = _experiment(run, posts, options, progress)
    together, said = _together(run, experiment, training)
    result = _trained(run, experiment, training, together, progress)
    more = {"reproduces": str(run.path.resolve())}
    contents = run_contents(experiment, result, replace(training, seed=result.seed), more)
    kept = None if options.output is None else write_run(options.output, contents).path
    return replace(
        compare_with(run, contents),
        conditions=_conditions(run, contents, posts),
        remarks=tuple(filter(None, (remark, said))),
        kept=kept,
    )


def _refuse_tuned(run: Run) -> None:
    """Refuses a fine-tuned run, whose backbones were trained as well.

    Raises:
        RunError: The run is one.
    """
    if not is_tuned(run):
        return
    path = run.config["data"]["path"] or "PATH"
    words = ["mvsa", "finetune", "--head", str(run.config["head"]), "--data", str(path)]
    command = shlex.join([*words, "--split", str(run.path / SPLIT)])
    raise RunError(
        "A fine-tuned run is not trained again by this command, as its backbones were trained too",
        where=run.path,
        expected="a run of mvsa fit or mvsa bench",
        hint=f"{command}, with the options under 'training' and 'finetune' of "
        f"{run.path / CONFIG}; then mvsa compare",
    )


def _refuse_output(run: Run, output: Path) -> None:
    """Refuses to write over a run, or into the one that is reproduced.

    Raises:
        RunError: The folder exists, or is inside the run.
    """
    refuse_taken(output)
    if run.path.resolve() in output.resolve().parents:
        raise RunError(
            "The new run would be inside of the run that it reproduces",
            where=output,
            expected="a folder elsewhere",
            hint="name another --output",
        )


def _training(run: Run, options: ReproduceOptions) -> TrainingOptions:
    try:
        training = training_options(run.config["training"])
    except (ValueError, MvsaError) as error:
        raise RunError(
            "This run's options of training cannot be used",
            where=run.path / CONFIG,
            found=error,
            hint=FIT_AGAIN,
        ) from error
    return training if options.device is None else replace(training, device=options.device)


def _posts(run: Run, options: ReproduceOptions) -> PostSet:
    """The run's posts, read as they were.

    Raises:
        DataError: They are not where they were.
    """
    if options.given is not None:
        return options.given
    path = options.data or run.config["data"]["path"]
    if path is None:
        raise RunError(
            "This run's posts were built in memory, so that they cannot be read again",
            where=run.path,
            hint="mvsa_pipe.reproduce(run, posts) takes them, or --data PATH",
        )
    if options.data is None and not Path(path).exists():
        raise DataError(
            "The posts of this run are not where they were",
            where=path,
            hint="--data PATH names where they are now",
        )
    return read_posts(Path(path), run.read_options)


def _experiment(
    run: Run, posts: PostSet, options: ReproduceOptions, progress: Progress
) -> Experiment:
    """The posts and features that the run was trained on, under its protocol tag.

    Raises:
        DataError: Posts are missing, or have changed.
        UnreadablePostsError: Posts cannot be read.
        MvsaError: From ``files_of_run``.
    """
    left_out = set(run.metrics.get("left_out", ()))
    members = run.members()
    used = [member for member in members if member.post_id not in left_out]
    changes = changed_members(run, used, posts, options.cache)
    if changes:
        raise DataError(
            "These posts are not those that the run was trained on",
            where=posts.storage.root,
            expected="posts with the ids, labels and contents that the run recorded",
            found=describe_changes(changes, len(used)),
            hint="--data names the posts that the run was made from",
        )
    posts = _as_recorded(run, members, posts)
    needs, how = needs_of([str(run.config["head"])]), feature_options(run)
    inference = InferenceOptions(
        cache=options.cache,
        device=options.device or "auto",
        on_bad_post=BadPostPolicy.SKIP,
        decode=options.decode,
    )
    wanted = {member.post_id for member in used}
    files, faults = files_of_run(run, needs, posts, wanted, inference, progress)
    if faults:
        raise UnreadablePostsError(faults, posts.storage.root)
    recorded = run.config["data"]
    path = posts.path or Path(posts.name)
    split, split_seed = str(recorded["split"]), int(recorded["split_seed"])
    data = DataChoice(path, run.read_options, split, split_seed, given=posts)
    known = {post.id for post in posts.posts}
    parts = Split({m.post_id: m.split for m in members if m.post_id in known}, split)
    caches = CacheChoice(options.cache, features=how)
    experiment = experiment_of(data, caches, posts, parts, files, needs, left_out)
    # members, labels and contents were compared: it is the same protocol
    return replace(experiment, protocol=run.config["protocol"])


def _as_recorded(run: Run, members: list[Member], posts: PostSet) -> PostSet:
    """The posts in the run's order, with its classes; posts of other classes are left out.

    The order of the posts decides how they are drawn into batches.
    """
    order = {member.post_id: place for place, member in enumerate(members)}
    classes = tuple(run.config["data"]["classes"])
    known = [post for post in posts.posts if post.label is None or post.label in classes]
    ordered = sorted(known, key=lambda post: order.get(post.id, len(order)))
    return replace(posts, posts=tuple(ordered), classes=classes)


def _together(run: Run, experiment: Experiment, training: TrainingOptions) -> tuple[int, str]:
    """How many copies of a run are trained together, and a remark if that was not recorded.

    A stack multiplies its matrices by another kernel than a run alone, which changes last digits.
    In a stack of as many copies, a run has the same sums as among others: on a CPU all its results
    are equal to the bit.
    """
    recorded = run.metrics.get("trained_together")
    if recorded == 1 or "seeds" in run.config or not (recorded or "spec_digest" in run.config):
        return 1, ""
    head, head_options = str(run.config["head"]), run.config["head_options"]
    if reason_alone(experiment, head, head_options, training) is not None:
        return 1, ""
    if recorded:
        return int(recorded), ""
    return 2, (
        "This run of a bench does not record how many runs were trained together: two copies were."
    )


def _trained(
    run: Run,
    experiment: Experiment,
    training: TrainingOptions,
    together: int,
    progress: Progress,
) -> FitResult:
    """Trains with as many threads and runs together as recorded: both decide the order of sums."""
    head, head_options = str(run.config["head"]), run.config["head_options"]
    for remark in experiment.remarks():
        progress.say(remark)
    threads = _recorded_threads(run)
    on_cpu = resolve_device(training.device).type == "cpu"
    with cpu_threads(threads) if threads and on_cpu else nullcontext():
        if seeds := run.config.get("seeds"):
            return run_ensemble(experiment, head, head_options, training, seeds, progress)
        planned = [(experiment, RunSpec(head, training, head_options)) for _ in range(together)]
        shown = FitProgress(progress, [(experiment.training_data, spec) for _, spec in planned])
        result, *_ = try_run_heads(planned, shown.on_step, on_epoch=shown.on_epoch)
    if isinstance(result, MvsaError):
        raise result
    return result


def _recorded_threads(run: Run) -> int | None:
    """CPU threads of the run; older runs of a bench had one, others recorded none."""
    threads: int | None = run.metrics.get("threads")
    return threads or (1 if run.config.get("spec_digest") else None)


def _conditions(run: Run, contents: RunContents, posts: PostSet) -> dict[str, tuple[str, str]]:
    """What differs between a run and a new one, apart from the result."""
    then, now = run.config, contents.config
    pairs: dict[str, tuple[Any, Any]] = {
        name: (then.get("versions", {}).get(name), version)
        for name, version in now["versions"].items()
    }
    for name, key in (
        ("device", "device"),
        ("threads", "threads"),
        ("runs trained together", "trained_together"),
    ):
        if run.metrics.get(key) is not None:
            pairs[name] = run.metrics[key], contents.metrics[key]
    if then["data"].get("digest"):
        pairs["posts of the data set"] = then["data"]["digest"], posts.digest
    pairs["path of the posts"] = then["data"]["path"], now["data"]["path"]
    for modality in map(Modality, then["caches"]):
        pairs[f"fingerprint of the {modality} features"] = (
            _fingerprints(then, modality),
            _fingerprints(now, modality),
        )
    if SOURCE in then and (origin := head_origin(str(then["head"]))) is not None:
        pairs["source of the head"] = then[SOURCE].get("sha256", ""), origin.sha256
    return {k: (str(a), str(b)) for k, (a, b) in pairs.items() if a != b}


def _fingerprints(config: Any, modality: Modality) -> str:  # noqa: ANN401  # a config record
    found = config["caches"].get(modality.value) or []
    records = found if isinstance(found, list) else [found]
    return "+".join(Fingerprint.from_json(record["fingerprint"]).digest for record in records)
