"""``mvsa finetune``: trains backbones and head together."""

from dataclasses import fields, replace
from typing import Annotated, Any, TypeVar

import typer

from mvsa_pipe.cli.console import line, show_json
from mvsa_pipe.cli.expand import completion, expand, parameter_name
from mvsa_pipe.cli.fit import HEAD_HELP, head_pairs, show_run
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.finetune.options import PRESETS, LiveChoice, RunFolderOptions, TuningOptions, preset
from mvsa_pipe.heads import HEADS, named_head
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import DataChoice
from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.training.options import TrainingOptions

OptionsT = TypeVar("OptionsT", TrainingOptions, TuningOptions)


@expand
def finetune(
    context: typer.Context,
    data: DataChoice,
    choice: LiveChoice,
    training: TrainingOptions,
    tuning: TuningOptions,
    folder: RunFolderOptions,
    tracker: TrackerOptions,
    head: Annotated[
        str | None,
        typer.Option("--head", help=HEAD_HELP, autocompletion=completion(HEADS)),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the head, as name=value. Repeatable."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help=f"Published settings: {', '.join(PRESETS)}. Given options override them.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Train backbones and head together, to measure the effect of freezing.

    Head, training step, selection and scores are those of mvsa fit. The same command resumes an
    interrupted run after its last epoch.
    """
    if head is not None:
        head = named_head(head)
    head_options = head_pairs(options or [])
    if like is not None:
        settings = preset(like)
        training = _preset(training, settings, context)
        tuning = _preset(tuning, settings, context)
    from mvsa_pipe.devices import resolve_device
    from mvsa_pipe.finetune.processes import processes
    from mvsa_pipe.finetune.run import FinetuneSpec
    from mvsa_pipe.finetune.run import finetune as train
    from mvsa_pipe.runs import checked_run_name, refuse_taken, require_writable
    from mvsa_pipe.tracking.listener import tracking

    if folder.name is not None:
        refuse_taken(folder.runs / checked_run_name(folder.name))
    require_writable(folder.runs)
    spec = FinetuneSpec(head, head_options, data, choice, training, tuning, folder)
    with processes(resolve_device(training.device)) as team, progress() as screen:
        chosen = TrackerOptions() if team.rank else tracker  # the first process tracks the run
        with tracking(chosen, folder.runs, screen.say) as tracked:
            run = train(spec, team, NoProgress() if team.rank else screen, tracked)
    if run is None:
        return
    if json:
        show_json({"run": str(run.path), **run.metrics})
        return
    show_run(run)
    trained = run.metrics["parameters_trained"]
    line("trained: " + ", ".join(f"{count:,} of {name}" for name, count in trained.items()))


def _preset(chosen: OptionsT, settings: Any, context: typer.Context) -> OptionsT:  # noqa: ANN401
    """Published settings, except for options that the user gave."""
    named = {
        parameter
        for parameter in context.params
        # by name: typer may contain its own copy of click, with another enumeration
        if getattr(context.get_parameter_source(parameter), "name", None) != "DEFAULT"
    }
    known = {f.name for f in fields(chosen) if parameter_name(type(chosen), f.name) not in named}
    return replace(chosen, **{name: value for name, value in settings.items() if name in known})
