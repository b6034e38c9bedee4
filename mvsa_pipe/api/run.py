"""``fit``, ``open_run`` and ``evaluate``: one trained head, as a folder that can be asked."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvsa_pipe.api.data import Data
from mvsa_pipe.api.keywords import as_path, build, names_of, refuse_unknown
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.errors import ConfigError, MvsaError, RunError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.own import head_name
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.scores import Scores
from mvsa_pipe.posts import PostSet
from mvsa_pipe.posts.in_memory import posts_in_memory
from mvsa_pipe.runs import Run
from mvsa_pipe.runs import open_run as open_folder
from mvsa_pipe.runs.cache_choice import naming_heads
from mvsa_pipe.runs.evaluate import Evaluation
from mvsa_pipe.runs.evaluate import evaluate as evaluate_run
from mvsa_pipe.runs.fit_plan import FitPlan
from mvsa_pipe.runs.options import InferenceOptions, ReproduceOptions, SeedChoice
from mvsa_pipe.runs.predict import PredictResult, predict, require_modalities
from mvsa_pipe.runs.prepare import needs_of
from mvsa_pipe.runs.reproduce import reproduce as train_again
from mvsa_pipe.runs.reproduction import Reproduction
from mvsa_pipe.tabular import Table
from mvsa_pipe.tracking.listener import tracking
from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.export.write import Exported
    from mvsa_pipe.heads.base import FusionHead

_RUNS = Path("runs")


@dataclass(frozen=True, repr=False)
class OpenRun(Run):
    """A run folder with what a notebook asks of it."""

    @classmethod
    def of(cls, run: Run) -> "OpenRun":
        """The same run."""
        return cls(run.path, run.config, run.metrics)

    @property
    def protocol(self) -> str:
        """The protocol tag: results with different tags are not comparable."""
        return str(self.metrics["protocol"])

    @property
    def scores(self) -> dict[str, Scores]:
        """Scores of each part that the run was scored on: ``val`` and ``test``.

        Raises:
            RunError: The record is damaged.
        """
        try:
            return {
                part: Scores.from_record(record) for part, record in self.metrics["scores"].items()
            }
        except ValueError as error:
            raise RunError("This run's scores are damaged", where=self.path, found=error) from error

    @property
    def history(self) -> Table:
        """One row per epoch, or per strength of a baseline.

        Raises:
            RunError: The record is missing or damaged.
        """
        return Table(f"history of {self.title}", self.read_history())

    def predict(
        self,
        texts: Sequence[str] | None = None,
        images: Sequence[object] | None = None,
        *,
        posts: PostSet | None = None,
        cache: str | Path = InferenceOptions.cache,
        device: str = InferenceOptions.device,
        head: str | None = None,
        calibrated: bool = InferenceOptions.calibrated,
    ) -> PredictResult:
        """Predicts new posts; no file is written.

        Args:
            texts: The texts of the posts.
            images: Their pictures: paths, ``PIL.Image`` objects, arrays ``[H, W, 3]`` or the bytes
                of a file.
            posts: A data set of posts instead, labelled or not.
            cache: The folder of caches, which are read where they contain all of these posts.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            head: Where the class of an own head is, if it is not where the run says.
            calibrated: Whether probabilities are at the run's temperature, which is fitted on its
                validation posts.

        Raises:
            ConfigError: A half that the head reads was not given, or as many texts as pictures.
            MvsaError: As ``mvsa_pipe.runs.predict.predict``.
        """
        if (posts is None) == (texts is None and images is None):
            raise ConfigError(
                "Nothing to predict, or too much",
                where="predict",
                expected="either texts and images, or posts",
                found="neither" if posts is None else "both",
            )
        options = build(
            InferenceOptions,
            {"cache": cache, "device": device, "head": head, "calibrated": calibrated},
        )
        if posts is None:
            require_modalities(self, text=texts is not None, image=images is not None)
            posts = posts_in_memory(texts, images)
        with shown_progress() as screen:
            return predict(self, posts, options, screen)

    def evaluate(
        self,
        posts: PostSet | str | Path | None = None,
        *,
        part: str | None = None,
        cache: str | Path = InferenceOptions.cache,
        device: str = InferenceOptions.device,
        on_bad_post: str = InferenceOptions.on_bad_post,
        head: str | None = None,
        calibrated: bool = InferenceOptions.calibrated,
    ) -> Evaluation:
        """Scores the run again, or on other posts.

        Args:
            posts: Other posts, or their path; the run's own by default.
            part: ``train``, ``val``, ``test`` or ``all``. By default ``test``, or ``val`` of a
                split without test; of other posts all that the run was neither trained nor
                selected on.
            cache: The folder of all caches; what they lack is extracted first.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            on_bad_post: ``error`` or ``skip``.
            head: Where the class of an own head is, if it is not where the run says.
            calibrated: Whether probabilities are at the run's temperature, which is fitted on its
                validation posts.

        Raises:
            MvsaError: As ``mvsa_pipe.runs.evaluate.evaluate``.
        """
        given = posts if isinstance(posts, PostSet) else None
        path = None if given is not None or posts is None else as_path("posts", posts)
        options = build(
            InferenceOptions,
            {
                "data": path,
                "given": given,
                "part": part,
                "cache": cache,
                "device": device,
                "on_bad_post": on_bad_post,
                "head": head,
                "calibrated": calibrated,
            },
        )
        with shown_progress() as screen:
            return evaluate_run(self, options, screen)

    def export(self, output: str | Path, *, onnx: bool | None = None) -> "Exported":
        """Writes a folder that needs neither caches nor weights: head, backbones, model card.

        ``mvsa_pipe.export.load_exported`` loads it.

        Args:
            output: The folder, which must not exist.
            onnx: Whether ONNX is written; where its packages are installed by default.

        Raises:
            MvsaError: As ``mvsa_pipe.export.write.export_run``.
        """
        from mvsa_pipe.export.options import ExportOptions
        from mvsa_pipe.export.write import export_run

        with shown_progress() as screen:
            return export_run(self, ExportOptions(as_path("output", output), onnx), screen)

    def __repr__(self) -> str:
        shown = "; ".join(
            f"{part} accuracy {scores[Score.ACCURACY]:.4f}, macro-F1 {scores[Score.F1_MACRO]:.4f}"
            for part, scores in self.scores.items()
        )
        return f"<Run {self.path}: {self.title} on {self.protocol}; {shown}>"

    def _repr_html_(self) -> str:
        from mvsa_pipe.reports.notebook import run_html

        return run_html(self, f"{self.path}: {self.title} on {self.protocol}")


def open_run(path: str | Path) -> OpenRun:
    """Opens a run folder.

    Raises:
        RunError: It is missing, incomplete, of another layout, or contains only a failure.
    """
    return OpenRun.of(open_folder(as_path("path", path)))


def evaluate(
    run: Run | str | Path,
    posts: PostSet | str | Path | None = None,
    **options: Any,  # noqa: ANN401
) -> Evaluation:
    """Scores a run again, or on other posts; arguments as of ``OpenRun.evaluate``."""
    return as_run(run).evaluate(posts, **options)


def reproduce(
    run: Run | str | Path,
    posts: PostSet | str | Path | None = None,
    **options: Any,  # noqa: ANN401
) -> Reproduction:
    """Trains a run again from its record, and compares the results; the run is only read.

    Args:
        run: The run, or its folder.
        posts: Its posts, if they are not where they were.
        options: Options of ``ReproduceOptions``: ``cache``, ``output``, ``device``, ``head``,
            ``decode``.

    Raises:
        MvsaError: As ``mvsa_pipe.runs.reproduce.reproduce``.
    """
    given = posts if isinstance(posts, PostSet) else None
    path = None if given is not None or posts is None else as_path("posts", posts)
    settings = build(ReproduceOptions, {**options, "data": path, "given": given})
    with shown_progress() as screen:
        return train_again(as_run(run), settings, screen)


def as_run(run: Run | str | Path) -> OpenRun:
    """A run that may be given as its folder.

    Raises:
        RunError: As ``open_run``.
        ConfigError: It is neither a run nor a path.
    """
    return OpenRun.of(run) if isinstance(run, Run) else open_run(run)


def fit(
    data: Data,
    head: "str | type[FusionHead]",
    *,
    seed: int = TrainingOptions.seed,
    seeds: int = SeedChoice.seeds,
    ensemble: bool = SeedChoice.ensemble,
    runs: str | Path = _RUNS,
    name: str | None = None,
    tracker: str | None = TrackerOptions.tracker,
    tracker_project: str = TrackerOptions.tracker_project,
    **options: Any,  # noqa: ANN401
) -> OpenRun:
    """Trains one head, selects its epoch on validation, and scores the test part once.

    Args:
        data: What ``load`` returned.
        head: A head's name, ``my_heads.py:Mine``, or a class derived from ``FusionHead``.
        seed: Decides weights, dropout masks and the order of batches.
        seeds: How many seeds an ensemble averages, counted up from ``seed``.
        ensemble: Whether the run averages the probabilities of several seeds.
        runs: The folder of all runs.
        name: The run's name; generated by default.
        tracker: ``tensorboard``, ``mlflow``, ``wandb`` or ``trackio`` records the run, too.
        tracker_project: The tracker's project, or experiment.
        options: Options of training, such as ``epochs`` and ``learning_rate``, and of the head,
            such as ``width`` and ``dropout``.

    Raises:
        ConfigError: An option cannot be used.
        MvsaError: As ``prepare`` and ``fit_head``.
    """
    name_of_head = named_head(head)
    training, head_options = split_options(name_of_head, options, seed)
    choice = build(SeedChoice, {"seeds": seeds, "ensemble": ensemble})
    if choice.seeds > 1 and not choice.ensemble:
        raise ConfigError(
            "fit makes one run",
            expected="ensemble=True to average several seeds",
            found=f"seeds={seeds}",
            hint="bench(data, heads=[...], seeds=5) makes one run a seed",
        )
    plan = FitPlan(name_of_head, head_options, training, choice, as_path("runs", runs), name)
    plan.check()
    track = build(TrackerOptions, {"tracker": tracker, "tracker_project": tracker_project})
    with shown_progress() as screen, tracking(track, plan.runs, screen.say) as tracked:
        with naming_heads([name_of_head]):
            experiment = data.experiment(needs_of([name_of_head]))
        (result,) = plan.run(experiment, screen, tracked)
    if isinstance(result, MvsaError):
        raise result
    return open_run(result.path)


def named_head(head: "str | type[FusionHead]") -> str:
    """The name of a head in the table of heads, to which an own class is added.

    Raises:
        ConfigError: It is neither a name nor a class, or no usable head.
        UnknownNameError: No head has that name.
    """
    if not isinstance(head, str | type):
        raise ConfigError(
            "head cannot be used",
            expected="a head's name, or a class derived from FusionHead",
            found=repr(head)[:200],
        )
    return head_name(head)


def split_options(
    head: str, options: dict[str, Any], seed: int
) -> tuple[TrainingOptions, dict[str, Any]]:
    """Options of training and options of a head from the keywords of ``fit``.

    Raises:
        ConfigError: A keyword is neither, or its value cannot be used.
    """
    training = [name for name in names_of(TrainingOptions) if name != "seed"]
    own = [each.name for each in fields(HEADS.load(head).Options)]
    refuse_unknown(options, [*training, *own], where=f"head {head!r}")
    given = {name: value for name, value in options.items() if name in training}
    rest = {name: value for name, value in options.items() if name in own}
    return build(TrainingOptions, {**given, "seed": seed}), rest
