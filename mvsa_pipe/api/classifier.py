"""``FusionClassifier``: any head or baseline as a scikit-learn classifier."""

from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mvsa_pipe.api.data import Data
from mvsa_pipe.api.keywords import build
from mvsa_pipe.api.run import named_head
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import HIDDEN, FeatureSizes, Field
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.model import Model
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.fitting import fit_head
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.scoring import predict_probabilities

if TYPE_CHECKING:
    from mvsa_pipe.heads.base import FusionHead

# Seeds are drawn below this, as scikit-learn draws them.
_MOST_DRAWN = 2**31 - 1


class ArrayError(ConfigError, ValueError):
    """An array or a parameter cannot be used; a ``ValueError``, as scikit-learn expects."""


class FusionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A head or baseline over pooled vectors, trained and selected as by ``fit``.

    ``X`` is an array ``[N, Dt + Di]``: each row is a post's text vector, then its image vector.
    Heads that read token states need ``fit(data)`` with what ``load`` returned, which every head
    takes: it is trained on the part ``train`` and selected on ``val``, and predicts ``test``.

    Args:
        head: A head's name, ``my_heads.py:Mine``, or a class derived from ``FusionHead``.
        text_features: Where the text vector ends: the number of its columns, or its share of all
            columns. Not needed by heads that read one modality, whose vector is the whole row.
        validation_fraction: Share of the rows of each class that is not trained on: the epoch or
            strength is selected by them.
        random_state: Decides weights, dropout, the order of batches and the validation rows.
        epochs: As of ``TrainingOptions``, like all that follow.
        batch_size: Posts per step.
        learning_rate: Peak learning rate.
        weight_decay: AdamW's decoupled weight decay.
        schedule: How the learning rate falls.
        warmup: Share of all steps in which the learning rate rises from 0.
        patience: Stop after this many epochs without a better score.
        select: The validation score that picks the epoch.
        class_weights: ``none``, ``balanced``, or explicit weights.
        label_smoothing: Share of each training label that is spread over all classes.
        ema: Decay of the average of the weights that is kept; 0 keeps none.
        feature_noise: Noise on the training rows in standard deviations of each column.
        centre: Whether the mean of the training rows is subtracted.
        clip_norm: Gradients are scaled down to this norm.
        precision: Arithmetic of training.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        options: Options of the head, such as ``width``; ``set_params`` and grids take them, too.

    Attributes:
        classes_: The labels, sorted; after ``fit(data)`` in the order of ``data.posts.classes``.
        n_features_in_: Number of columns; absent after ``fit(data)``.
        history_: One entry per epoch, or per strength of a baseline.
        best_: Index of the selected entry.
        model_: The trained head or baseline.
    """

    def __init__(
        self,
        head: "str | type[FusionHead]" = "basic",
        *,
        text_features: int | float | None = None,
        validation_fraction: float = 0.1,
        random_state: "int | np.random.RandomState | None" = None,
        epochs: int = TrainingOptions.epochs,
        batch_size: int = TrainingOptions.batch_size,
        learning_rate: float = TrainingOptions.learning_rate,
        weight_decay: float = TrainingOptions.weight_decay,
        schedule: str = TrainingOptions.schedule.value,
        warmup: float = TrainingOptions.warmup,
        patience: int = TrainingOptions.patience,
        select: str = TrainingOptions.select.value,
        class_weights: str = TrainingOptions.class_weights,
        label_smoothing: float = TrainingOptions.label_smoothing,
        ema: float = TrainingOptions.ema,
        feature_noise: float = TrainingOptions.feature_noise,
        centre: bool = TrainingOptions.centre,
        clip_norm: float = TrainingOptions.clip_norm,
        precision: str = TrainingOptions.precision,
        device: str = TrainingOptions.device,
        **options: Any,  # noqa: ANN401
    ) -> None:
        self.head = head
        self.text_features = text_features
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.patience = patience
        self.select = select
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.ema = ema
        self.feature_noise = feature_noise
        self.centre = centre
        self.clip_norm = clip_norm
        self.precision = precision
        self.device = device
        for name, value in options.items():
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, with the options of the head that were given."""
        params: dict[str, Any] = super().get_params(deep)
        own = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and not name.endswith("_")
        }
        return params | own

    def set_params(self, **params: Any) -> "FusionClassifier":  # noqa: ANN401
        """Sets parameters and options of the head.

        Raises:
            ValueError: There is no such parameter or option.
        """
        head = params.get("head", self.head)
        known = self.get_params(deep=False).keys()
        mine = {name for name in params.keys() - known if name in _head_options(head)}
        super().set_params(**{name: params[name] for name in params if name not in mine})
        for name in mine:
            setattr(self, name, params[name])
        return self

    def fit(self, X: Any, y: Any = None) -> "FusionClassifier":  # noqa: ANN401, N803
        """Trains the head.

        Args:
            X: An array ``[N, Dt + Di]``, or what ``load`` returned.
            y: Labels ``[N]``; those of the posts where ``X`` is what ``load`` returned.

        Raises:
            ValueError: The arrays or a parameter cannot be used.
            ConfigError: An option of training or of the head cannot be used.
            MvsaError: Training failed.
        """
        name = named_head(self.head)
        random = check_random_state(self.random_state)
        whole = isinstance(self.random_state, Integral)  # the seed itself, as of ``fit``
        seed = self.random_state if whole else random.randint(_MOST_DRAWN)
        training = self._training(seed)
        if isinstance(X, Data):
            data = X.experiment(HEADS.load(name).needs).training_data
            self.classes_ = np.array(data.classes)
            if hasattr(self, "n_features_in_"):
                del self.n_features_in_
        else:
            rows, targets = validate_data(self, X, y, dtype=np.float32, ensure_min_samples=2)
            check_classification_targets(targets)
            self.classes_, labels = np.unique(targets, return_inverse=True)
            if len(self.classes_) < 2:
                raise ArrayError(
                    "A classifier needs two classes or more", found=f"class {self.classes_[0]!r}"
                )
            data = self._training_data(name, rows, labels, random)
        options = {name: getattr(self, name) for name in self._head_option_names()}
        fitted = fit_head(name, options, data.to(resolve_device(training.device)), training)
        self.model_, self.history_, self.best_ = fitted.head, fitted.history, fitted.best
        self.name_of_head_ = name
        return self

    def predict_proba(self, X: Any) -> Float[ndarray, "N C"]:  # noqa: ANN401, N803
        """Probability of each class, in the order of ``classes_``.

        Args:
            X: An array ``[N, Dt + Di]``, or what ``load`` returned: its part ``test`` is
                predicted, or ``val`` of a split without test.

        Raises:
            NotFittedError: ``fit`` was not called.
            ValueError: The array has another number of columns, or cannot be used.
        """
        check_is_fitted(self, "model_")
        texts = None
        features: FeatureSource
        if isinstance(X, Data):
            experiment = self._experiment(X)
            features, posts = experiment.training_data.features, _tested(experiment)
            texts = experiment.training_data.texts
        else:
            rows = validate_data(self, X, dtype=np.float32, reset=False)
            features, posts = self._features(self.name_of_head_, rows), torch.arange(len(rows))
        features = features.to(self.model_.device)
        shares = predict_probabilities(
            self.model_, features, posts.to(self.model_.device), texts
        ).astype(np.float64)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> ndarray:  # noqa: ANN401, N803
        """The most probable class of each row; arguments as of ``predict_proba``."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: ANN401, N803
        """Accuracy; of what ``load`` returned, on its part ``test``."""
        if isinstance(X, Data):
            experiment = self._experiment(X)
            labels = experiment.training_data.labels.cpu()[_tested(experiment)].numpy()
            y = np.array(experiment.posts.classes)[labels]
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def _training(self, seed: object) -> TrainingOptions:
        names = {each.name for each in fields_of(TrainingOptions)}
        given = {name: value for name, value in vars(self).items() if name in names}
        try:
            return build(TrainingOptions, {**given, "seed": seed})
        except ConfigError as error:
            raise _as_array_error(error) from None

    def _head_option_names(self) -> list[str]:
        init = set(super()._get_param_names())
        return [name for name in self.get_params(deep=False) if name not in init]

    def _experiment(self, data: Data) -> Experiment:
        experiment = data.experiment(self.model_.needs)
        if tuple(experiment.posts.classes) != tuple(self.classes_):
            raise ArrayError(
                "These posts have other classes than those that the classifier was fitted to",
                expected=", ".join(map(str, self.classes_)),
                found=", ".join(experiment.posts.classes),
            )
        return experiment

    def _training_data(
        self,
        name: str,
        rows: Float[ndarray, "N F"],
        labels: Int[ndarray, " N"],
        random: "np.random.RandomState",
    ) -> TrainingData:
        val = validation_rows(labels, self.validation_fraction, random)
        train = np.setdiff1d(np.arange(len(labels)), val)
        return TrainingData(
            features=self._features(name, rows),
            labels=torch.from_numpy(labels.astype(np.int64)),
            train=torch.from_numpy(train),
            val=torch.from_numpy(val),
            classes=tuple(map(str, self.classes_)),
        )

    def _features(self, name: str, rows: Float[ndarray, "N F"]) -> ResidentFeatures:
        """Rows as the pooled vectors that a head reads."""
        needs = HEADS.load(name).needs
        if needs & HIDDEN:
            raise ArrayError(
                f"Head {name!r} reads token states, which an array of pooled vectors lacks",
                expected="fit(data) with what mvsa_pipe.load returned, or a head that reads pooled "
                "vectors alone, such as basic or gated",
            )
        halves = {need.modality for need in needs}
        width = rows.shape[1]
        end = {Modality.TEXT: width, Modality.IMAGE: 0}[next(iter(halves))]
        if len(halves) > 1:
            end = _text_end(self.text_features, width, name)
        tensor = torch.from_numpy(np.ascontiguousarray(rows))
        return ResidentFeatures(
            post_ids=tuple(map(str, range(len(rows)))),
            sizes=FeatureSizes(end or 1, (width - end) or 1, 1, len(self.classes_)),
            text_pooled=tensor[:, :end] if Field.TEXT_POOLED in needs else None,
            image_pooled=tensor[:, end:] if Field.IMAGE_POOLED in needs else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        """The model as the bytes of its file: its generators cannot be pickled."""
        state = dict(super().__getstate__())
        if "model_" in state:
            model: Model = state["model_"]
            config = {
                "head": self.name_of_head_,
                "head_options": asdict(model.options),
                "sizes": asdict(model.sizes),
                "training": {"seed": 0},
            }
            state["model_"] = _SavedModel(config, model.dump(), str(model.device))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Builds the model again."""
        saved = state.get("model_")
        if isinstance(saved, _SavedModel):
            head = state["head"] if isinstance(state["head"], type) else state["name_of_head_"]
            state = {**state, "model_": saved.loaded(named_head(head))}
        super().__setstate__(state)


@dataclass(frozen=True)
class _SavedModel:
    config: dict[str, Any]
    data: bytes
    device: str

    def loaded(self, head: str) -> Model:
        kind, config = HEADS.load(head), {**self.config, "head": head}
        device = self.device if resolve_device("auto").type != "cpu" else "cpu"
        return kind.load(config, self.data, "FusionClassifier", torch.device(device))


def validation_rows(
    labels: Int[ndarray, " N"], fraction: object, random: "np.random.RandomState"
) -> Int[ndarray, " n"]:
    """Indices of the rows that a classifier selects its epoch by: a share of each class.

    At least one row is taken, and no class's only row.

    Raises:
        ArrayError: The fraction is not between 0 and 1, or no class has a row to spare.
    """
    share = float(fraction) if isinstance(fraction, Real) else 0.0
    if not 0 < share < 1:
        raise ArrayError(
            "validation_fraction cannot be used",
            expected="a number above 0 and below 1",
            found=repr(fraction),
        )
    chosen: list[int] = []
    shuffled = random.permutation(len(labels))
    counts = np.bincount(labels)
    largest = int(counts.argmax())
    for number, count in enumerate(counts.tolist()):
        own = shuffled[labels[shuffled] == number]
        wanted = min(round(share * count), count - 1)
        if number == largest:
            wanted = max(wanted, min(1, count - 1))
        chosen += own[:wanted].tolist()
    if not chosen:
        raise ArrayError(
            "There are too few rows to select an epoch by",
            expected="a class with two rows or more",
            found=f"n_samples={len(labels)}, one a class",
        )
    return np.sort(np.array(chosen, np.int64))


def _text_end(text_features: object, width: int, head: str) -> int:
    """How many columns the text vector has."""
    end = 0
    if isinstance(text_features, bool):
        end = 0
    elif isinstance(text_features, Integral):
        end = int(text_features)
    elif isinstance(text_features, float) and 0 < text_features < 1:
        end = round(text_features * width)
    if 0 < end < width:
        return end
    raise ArrayError(
        f"Head {head!r} reads text and image, and text_features does not divide the columns",
        expected="the number of text columns, or their share between 0 and 1, that leaves columns "
        "for the image",
        found=f"text_features={text_features!r} of {width} feature(s)",
    )


def _tested(experiment: Experiment) -> Int[torch.Tensor, " n"]:
    part = "test" if len(experiment.indices["test"]) else "val"
    return experiment.indices[part].to(experiment.training_data.labels.device)


def _head_options(head: object) -> set[str]:
    """Names of the options of a head; none if there is no such head."""
    if not isinstance(head, str | type):
        return set()
    return {each.name for each in fields_of(HEADS.load(named_head(head)).Options)}


def _as_array_error(error: ConfigError) -> ArrayError:
    return ArrayError(
        error.what, where=error.where, expected=error.expected, found=error.found, hint=error.hint
    )
