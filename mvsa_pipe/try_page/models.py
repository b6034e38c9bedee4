"""Opens runs and exported folders in the one form that the page asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mvsa_pipe.analysis.changed_features import Constant
from mvsa_pipe.analysis.feature_library import FeatureLibrary, open_with_caches
from mvsa_pipe.analysis.options import Replacement, RescoringOptions
from mvsa_pipe.analysis.run_labels import run_labels
from mvsa_pipe.errors import CacheError
from mvsa_pipe.export import load_exported
from mvsa_pipe.export.layout import is_exported
from mvsa_pipe.extraction.in_memory import Forwards
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.heads.model import Model
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.forwards import KnownForwards, feature_options, load_forwards
from mvsa_pipe.runs.inference import answers_one_half, load_head
from mvsa_pipe.try_page.options import TryOptions

Constants = Callable[[Modality], Sequence[Constant]]


class AbsentAs(StrEnum):
    """What a model reads in place of a half that is left out."""

    TRAINED = "zeros, as in its training with --modality-dropout"
    MEAN = "the mean of its training posts"
    UNTRAINED = "zeros, which it was not trained to read"


@dataclass(frozen=True)
class TriedModel:
    """A trained head with its backbones.

    Attributes:
        name: Its name on the page.
        classes: Names of the classes, in the order of the probabilities.
        head: The head or baseline.
        backbones: The backbones of each modality that it reads.
        options: How it reads image tokens and layers.
        absent_as: What it reads in place of a half that is left out.
        constants: The means of its training posts; ``None`` where others stand for them.
        remark: Why there are no means; empty if nothing is to be said.
    """

    name: str
    classes: tuple[str, ...]
    head: Model
    backbones: Forwards
    options: FeatureOptions
    absent_as: AbsentAs
    constants: Constants | None = None
    remark: str = ""


def open_models(paths: Sequence[Path], options: TryOptions, progress: Progress) -> list[TriedModel]:
    """Loads runs and exported folders, in order; runs share backbones that are the same.

    Args:
        paths: Folders that ``mvsa fit`` or ``mvsa export`` wrote.
        options: Where caches are, and where models compute.
        progress: Receives progress.

    Raises:
        RunError: A folder is neither, or damaged.
        BackboneError: Weights cannot be loaded.
        CacheError: Weights have changed since a run was trained.
        ConfigError: The device is absent.
    """
    exported = [is_exported(path) for path in paths]
    runs = [open_run(path) for path, own in zip(paths, exported, strict=True) if not own]
    labels = iter(zip(runs, run_labels(runs) if runs else (), strict=True))
    known: KnownForwards = {}
    models: list[TriedModel] = []
    for path, own in zip(paths, exported, strict=True):
        model = (
            _of_export(path, options) if own else _of_run(*next(labels), options, progress, known)
        )
        taken = {other.name for other in models}
        models.append(replace(model, name=str(path)) if model.name in taken else model)
    return models


def _of_export(path: Path, options: TryOptions) -> TriedModel:
    model = load_exported(path, options.device)
    return TriedModel(
        path.resolve().name,
        model.classes,
        model.head,
        model.forwards,
        FeatureOptions(model.image_grid),
        AbsentAs.TRAINED if model.answers_one_half else AbsentAs.UNTRAINED,
        remark=""
        if model.answers_one_half or len(model.parts) == 1
        else "an exported folder has no training posts, whose mean would stand for what is left "
        "out; the run itself finds them in its caches.",
    )


def _of_run(
    run: Run, name: str, options: TryOptions, progress: Progress, known: KnownForwards
) -> TriedModel:
    head = load_head(run, options.device, progress)
    model = TriedModel(
        name,
        tuple(run.config["data"]["classes"]),
        head,
        load_forwards(run, options.device, progress, known=known),
        feature_options(run),
        AbsentAs.TRAINED,
    )
    if len(model.backbones) == 1 or answers_one_half(run.config["training"], head):
        return model
    try:
        constants = _means(run, options, progress)
    except CacheError as error:
        return replace(model, absent_as=AbsentAs.UNTRAINED, remark=error.paragraph())
    return replace(model, absent_as=AbsentAs.MEAN, constants=constants)


def _means(run: Run, options: TryOptions, progress: Progress) -> Constants:
    """The means of a run's training posts, computed when they are first asked for.

    Raises:
        CacheError: Its features are not cached.
    """
    read = RescoringOptions(cache=options.cache, device=options.device)
    opened = open_with_caches(run, read, progress)
    library = FeatureLibrary(())
    library.request(opened)
    constants = library.constants_of(opened)
    return lambda modality: constants(modality, Replacement.MEAN)
