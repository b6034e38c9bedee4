"""What every baseline is: a scikit-learn ``Pipeline`` over both pooled vectors and the texts."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mvsa_pipe.devices import usable_cores
from mvsa_pipe.errors import DataError
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.model import CPU, Model
from mvsa_pipe.heads.options import HeadOptions
from mvsa_pipe.options import option

if TYPE_CHECKING:
    from pandas import DataFrame

# The least share of a class: its logarithm is finite, and a class that no training post has gets
# no probability to speak of.
LEAST_SHARE = float(np.exp(-30.0))

# The square of it, and sums of thousands of those, are numbers of single precision.
_LARGEST = 1e15

# The column of the texts; those of the vectors are numbered.
TEXT = "text"


@dataclass(frozen=True)
class BaselineOptions(HeadOptions):
    """Options of all baselines.

    Attributes:
        terms: The most frequent words and pairs of words that are read too, as tf-idf; 0 for none.
    """

    terms: int = option(0, least=0, most=100_000)


class Baseline(Model):
    """A scikit-learn classifier over both pooled vectors, and over tf-idf of the text if asked.

    A subclass is one row in the table of heads. Its ``inputs`` and its ``classifier`` are the two
    steps of an ordinary ``Pipeline``, which reads a data frame: the entries of the vectors
    ``[F_T; F_I]``, one a column, and the texts in a last column where ``terms`` are read.

    Args:
        sizes: Widths of the vectors, and the number of classes.
        options: The options.
        seed: Decides every draw.

    Attributes:
        strengths: What it is fitted with, from the stiffest fit to the closest; the best on
            validation is kept.
        title: Its name in messages.
        side_by_side: Whether as many strengths are fitted at once as there are cores, which share
            the inputs and need little memory beside them.
        pipelines: The fitted pipelines, whose probabilities are averaged: one, or one a seed.
    """

    needs = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})
    Options = BaselineOptions
    file = "baseline.skops"
    strengths: ClassVar[tuple[float, ...]]
    title: ClassVar[str]
    side_by_side: ClassVar[bool] = True
    options: BaselineOptions

    def __init__(self, sizes: FeatureSizes, options: BaselineOptions, seed: int = 0) -> None:
        self.sizes = sizes
        self.options = options
        self.seed = seed
        self.pipelines: tuple[Any, ...] = ()

    @abstractmethod
    def vectors(self) -> Any:  # noqa: ANN401  # scikit-learn has no types
        """The transformer of the vectors."""

    @abstractmethod
    def classifier(self, strength: float) -> Any:  # noqa: ANN401
        """The classifier after the inputs, for one of the strengths."""

    @abstractmethod
    def learned(self, classifier: Any) -> int:  # noqa: ANN401
        """How many numbers a fitted classifier learned."""

    def inputs(self) -> Any:  # noqa: ANN401
        """The transformer of the data frame: vectors followed by terms."""
        from sklearn.compose import ColumnTransformer

        from mvsa_pipe.baselines.terms import make_terms

        parts: list[tuple[str, Any, Any]] = [("vectors", self.vectors(), slice(0, self.width))]
        if self.options.terms:
            terms = make_terms(self.options.terms, variance=float(self.width))
            parts.append(("terms", terms, TEXT))
        return ColumnTransformer(parts, sparse_threshold=1.0)

    def fit(
        self,
        frame: "DataFrame",
        labels: Int[np.ndarray, " N"],
        class_weights: Float[np.ndarray, " C"] | None = None,
        strengths: Sequence[float] | None = None,
    ) -> "Iterator[Baseline]":
        """Fits one baseline a strength, all over inputs that are fitted once, some side by side.

        Args:
            frame: The training posts, as of ``frame``.
            labels: Their classes.
            class_weights: Weight of a post of each class.
            strengths: Other strengths than those of the class.

        Raises:
            DataError: All training posts have the same class, terms are asked of no words, or
                features are too large.
        """
        from sklearn.pipeline import Pipeline

        self._require_classes(labels)
        _require_bounded(frame.iloc[:, : self.width].to_numpy())
        if self.reads_texts:
            from mvsa_pipe.baselines.terms import require_words

            require_words(frame[TEXT].tolist())
        inputs = self.inputs()
        x = inputs.fit_transform(frame)
        weights = None if class_weights is None else class_weights[labels].astype(np.float64)

        def fitted(strength: float) -> "Baseline":
            classifier = self.classifier(strength).fit(x, labels, sample_weight=weights)
            return self.holding(Pipeline([("inputs", inputs), ("classifier", classifier)]))

        pool = ThreadPoolExecutor(usable_cores() if self.side_by_side else 1, "strength")
        try:
            yield from pool.map(fitted, strengths or self.strengths)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def holding(self, *pipelines: Any) -> "Baseline":  # noqa: ANN401
        """The same baseline with fitted pipelines."""
        fitted = copy.copy(self)
        fitted.pipelines = pipelines
        return fitted

    def frame(self, batch: FeatureBatch, texts: Sequence[str] | None = None) -> "DataFrame":
        """What the pipelines read of some posts.

        Raises:
            ValueError: The batch lacks a feature, or texts are missing.
        """
        import pandas as pd

        parts = [_read(batch, Field.TEXT_POOLED), _read(batch, Field.IMAGE_POOLED)]
        frame = pd.DataFrame(np.concatenate(parts, axis=1))
        # Names are most of a saved pipeline, and only the text needs one; earlier runs have them.
        if self.reads_texts or any(hasattr(own[0], "feature_names_in_") for own in self.pipelines):
            frame.columns = frame.columns.astype(str)
        if not self.reads_texts:
            return frame
        if texts is None:
            raise ValueError(f"{self.title} with terms needs texts, which were not given")
        return frame.assign(**{TEXT: pd.Series(list(texts), dtype=object)})

    def transform(self, frame: "DataFrame") -> Any:  # noqa: ANN401
        """What the only classifier reads of some posts, the same for every strength.

        ``None`` if ``predict`` refuses some of them.
        """
        (pipeline,) = self.pipelines
        return pipeline[0].transform(frame) if self._sound(frame).all() else None

    def predict(
        self,
        frame: "DataFrame",
        transformed: Any = None,  # noqa: ANN401
    ) -> Float[np.ndarray, "N C"]:
        """Probability of each class, averaged over the pipelines, each at least ``LEAST_SHARE``.

        NaN for posts whose features are no finite numbers, or too large to compute with.

        Args:
            frame: The posts.
            transformed: Their ``transform``, if it is known.
        """
        sound = self._sound(frame)
        if not sound.all():
            shares = np.full((len(frame), self.sizes.classes), np.nan)
            shares[sound] = self.predict(frame[sound])
            return shares
        shares = np.zeros((len(frame), self.sizes.classes))
        for pipeline in self.pipelines if len(frame) else ():
            x = pipeline[0].transform(frame) if transformed is None else transformed
            shares[:, pipeline.classes_] += pipeline[-1].predict_proba(x) / len(self.pipelines)
        return np.maximum(shares, LEAST_SHARE)

    def predict_proba(
        self, batch: FeatureBatch, texts: Sequence[str] | None = None
    ) -> Float[Tensor, "B C"]:
        """Probability of each class for every post.

        Raises:
            ValueError: The batch lacks a feature, or texts are missing.
        """
        return torch.from_numpy(self.predict(self.frame(batch, texts)).astype(np.float32))

    @property
    def width(self) -> int:
        """``D``, the width of both pooled vectors together."""
        return self.sizes.text_width + self.sizes.image_width

    @property
    def reads_texts(self) -> bool:
        """Whether it reads terms."""
        return self.options.terms > 0

    @property
    def parameter_count(self) -> int:
        """How many numbers the classifiers learned."""
        return sum(self.learned(pipeline[-1]) for pipeline in self.pipelines)

    @property
    def device(self) -> torch.device:
        """scikit-learn computes on the CPU."""
        return CPU

    @classmethod
    def build(
        cls,
        sizes: FeatureSizes,
        options: HeadOptions,
        seed: int,
        device: torch.device = CPU,  # noqa: ARG003  # scikit-learn computes nowhere else
    ) -> "Baseline":
        """A baseline before its fit."""
        assert isinstance(options, BaselineOptions)  # noqa: S101
        return cls(sizes, options, seed)

    @classmethod
    def average(cls, members: Sequence[Model]) -> "Baseline":
        """One baseline that holds the pipelines of several."""
        every = [member for member in members if isinstance(member, Baseline)]
        return every[0].holding(*(p for member in every for p in member.pipelines))

    @classmethod
    def load(
        cls,
        config: Mapping[str, Any],
        data: bytes,
        where: object,
        device: torch.device,
    ) -> "Baseline":
        """A run's baseline.

        Raises:
            ConfigError: An option is unknown or its value cannot be used.
            RunError: The data is damaged, holds types that are not trusted, or does not fit.
        """
        from mvsa_pipe.baselines.saving import load_pipelines
        from mvsa_pipe.heads.options import parse_options

        options = parse_options(config["head"], cls.Options, config["head_options"])
        sizes, seed = FeatureSizes.from_record(config["sizes"]), config["training"]["seed"]
        built = cls.build(sizes, options, seed, device)
        return load_pipelines(built, len(config.get("seeds", [seed])), data, where)

    def dump(self) -> bytes:
        """The pipelines in the format of skops."""
        from mvsa_pipe.baselines.saving import dump_pipelines

        return dump_pipelines(self.pipelines)

    def _sound(self, frame: "DataFrame") -> Bool[np.ndarray, " N"]:
        """Which posts have features to compute with."""
        largest = np.abs(frame.iloc[:, : self.width].to_numpy()).max(axis=1)
        return np.asarray(largest <= _LARGEST)

    def _require_classes(self, labels: Int[np.ndarray, " N"]) -> None:
        present = np.unique(labels)
        if len(present) < 2:
            raise DataError(
                f"{self.title} needs at least two classes among the training posts",
                found=f"class {present.tolist()} alone",
            )


def _read(batch: FeatureBatch, field: Field) -> Float[np.ndarray, "B D"]:
    value: Tensor | None = getattr(batch, field.value)
    if value is None:
        raise ValueError(f"a baseline needs {field.value}, which the batch lacks")
    return value.detach().cpu().double().numpy()


def _require_bounded(vectors: Float[np.ndarray, "N D"]) -> None:
    largest = np.abs(vectors).max(initial=0.0)
    if not largest <= _LARGEST:
        raise DataError(
            "These features are too large for a solver",
            expected=f"numbers up to {_LARGEST:g}",
            found=f"{largest:g}",
            hint="take features of another backbone, or of another layer",
        )
