"""Schemas of a run folder's files: types, ranges, fixed words.

Checked when a folder is opened, for all verbs. Entries that no reader uses are not declared, so
that older and newer runs can be read.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.json_schema import Count, Schema, Seconds, Seed, parse_json, validated
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import MOST_THREADS, Options
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.user_code import Origin

OptionsT = TypeVar("OptionsT", bound=Options)

Half = Literal["text", "image"]
Text = Annotated[str, Meta(min_length=1)]

# No backbone is as wide, no picture has as many tokens, no task as many classes.
_Width = Annotated[int, Meta(ge=1, le=1_000_000)]
_Classes = Annotated[int, Meta(ge=1, le=100_000)]
_Layers = Annotated[
    tuple[tuple[Annotated[int, Meta(ge=1, le=1_000)], _Width], ...], Meta(max_length=64)
]


class SizesShape(Schema, forbid_unknown_fields=True):
    """Schema of ``FeatureSizes``; other sizes are refused."""

    text_width: _Width
    image_width: _Width
    image_tokens: _Width
    classes: _Classes
    text_layers: _Layers = ()
    image_layers: _Layers = ()


class CacheShape(Schema):
    """Cache and backbone of one modality."""

    fingerprint: str
    backbone: Any = None  # checked when a backbone is loaded from it
    path: str | None = None


class TrainingShape(Schema):
    """Options of training that are needed to build the head."""

    seed: Seed


class DataShape(Schema):
    """The posts and their split; no path for posts that were built in memory."""

    path: str | None
    read: dict[str, Any]
    split: str
    split_seed: int
    name: Text
    classes: Annotated[list[str], Meta(min_length=1, max_length=100_000)]
    digest: str | None = None  # absent in older runs


class FinetuneShape(Schema):
    """Schema of a fine-tuned run's options."""

    trained: tuple[Half, ...] = ()


class ConfigShape(Schema):
    """Schema of ``config.json``."""

    head: Text
    head_options: dict[str, bool | int | float | str]
    sizes: SizesShape
    training: TrainingShape
    protocol: str
    data: DataShape
    image_grid: Annotated[int, Meta(ge=0, le=1_000_000)]
    caches: dict[Half, CacheShape | Annotated[list[CacheShape], Meta(min_length=1)]]
    layer_mix: LayerMix = LayerMix.LAST  # absent in runs of 0.1
    seeds: Annotated[list[Seed], Meta(min_length=1, max_length=10_000)] | UnsetType = UNSET
    spec_digest: str = ""  # only in runs of a bench
    parameter_budget: Count = 0  # only in runs whose width was chosen for it
    finetune: FinetuneShape | UnsetType = UNSET
    head_source: dict[str, str] | UnsetType = UNSET  # own heads have one


# Runs of 0.1 have these scores alone.
_FIRST_SCORES = tuple(
    f"{name}_{mean}" for mean in ("macro", "weighted") for name in ("precision", "recall", "f1")
)


def _require_scores(where: str, values: Mapping[str, float | tuple[float, float]]) -> None:
    """Holds values, or intervals of them, against the table of scores.

    Raises:
        ValueError: One that every run has is missing, or one is out of its range.
    """
    missing = [name for name in ("accuracy", *_FIRST_SCORES) if name not in values]
    if missing:
        raise ValueError(f"no score {missing[0]!r} in {where!r}")
    for row in (score.row for score in Score if score.value in values):
        found = values[row.name]
        for value in found if isinstance(found, tuple) else (found,):
            if not row.least <= value <= row.most:
                raise ValueError(f"{row.name} {value!r} in {where!r} is out of its range")


class ScoresShape(Schema):
    """Schema of ``Scores``: the entries that are shown."""

    posts: Count
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    def __post_init__(self) -> None:
        """Checks the scores, by the table of scores."""
        _require_scores("values", self.values)
        _require_scores("intervals", self.intervals)
        if self.values.keys() != self.intervals.keys():
            raise ValueError("values and intervals of different scores")


class ReferenceShape(Schema):
    """Schema of ``Reference``."""

    name: str
    values: dict[str, float]
    deviations: dict[str, Annotated[float, Meta(ge=0)]]

    def __post_init__(self) -> None:
        """Checks the scores, by the table of scores."""
        _require_scores("values", self.values)
        if self.values.keys() != self.deviations.keys():
            raise ValueError("values and deviations of different scores")


class MetricsShape(Schema):
    """Schema of ``metrics.json``."""

    protocol: str
    posts: dict[str, Count] = msgspec.field(default_factory=dict)
    selected_by: str = ""
    scores: dict[str, ScoresShape] = msgspec.field(default_factory=dict)
    references: dict[str, tuple[ReferenceShape, ...]] = msgspec.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    batch_independent: bool = True
    parameters: Count | None = None
    parameters_trained: Count | dict[str, Count] | None = None
    seconds: Seconds | None = None
    peak_memory_bytes: Count | None = None
    peak_gpu_bytes: Count | None = None
    energy_joules: Seconds | None = None
    device: str = "unknown"
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None  # absent in older runs
    trained_together: Annotated[int, Meta(ge=1, le=1_000)] | None = None


class FailureShape(Schema):
    """Schema of ``failed.json``.

    Attributes:
        spec_digest: Digest of everything that determines the run.
        reason: The error, as one paragraph.
        lasting: Whether the same run would fail again.
    """

    spec_digest: str
    reason: str
    lasting: bool


def check_config(config: object) -> None:
    """Checks a run's configuration.

    Raises:
        ValueError: An entry is missing, of another type, out of range, or contradicts another.
    """
    shape = validated(config, ConfigShape)
    if len(set(shape.data.classes)) < len(shape.data.classes):
        raise ValueError("two classes of one name - at `$.data.classes`")
    if len(shape.data.classes) != shape.sizes.classes:
        raise ValueError("another number of classes - at `$.sizes.classes`")
    if shape.head_source is not UNSET:
        Origin.from_record(shape.head_source)
    read_options(shape.data.read)
    for half, records in shape.caches.items():
        for record in records if isinstance(records, list) else [records]:
            _check_fingerprint(record.fingerprint, Modality(half))


def _check_fingerprint(line: str, modality: Modality) -> None:
    found = validated(parse_json(line), Fingerprint)
    if found.modality is not modality:
        raise ValueError(f"the fingerprint of a cache of {found.modality} - at `$.caches`")


def training_options(record: dict[str, Any]) -> TrainingOptions:
    """How a run was trained; options that older runs lack have their defaults.

    Raises:
        ValueError: It has an unknown option, or a value of another type.
        ConfigError: A value cannot be used.
    """
    return _options(record, TrainingOptions, "$.training")


def read_options(record: dict[str, Any]) -> ReadOptions:
    """How a run's posts were read.

    Raises:
        ValueError: It has an unknown option, or a value of another type.
        ConfigError: A value cannot be used.
    """
    return _options(record, ReadOptions, "$.data.read")


def _options(record: dict[str, Any], kind: type[OptionsT], where: str) -> OptionsT:
    """Recorded options; those that older runs lack have their defaults.

    Raises:
        ValueError: It has an unknown option, or a value of another type.
        ConfigError: A value cannot be used.
    """
    unknown = sorted(record.keys() - {each.name for each in fields(kind)})
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r} - at `{where}`")
    return validated(record, kind)
