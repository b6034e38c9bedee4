"""How runs are compared; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mvsa_pipe.options import MOST_RESAMPLES, MOST_SEED, Options, option


@dataclass(frozen=True)
class LeakOptions(Options):
    """Which posts leak from train into test.

    Attributes:
        near_cosine: Cosine of cached vectors from which two posts count as near.

    Raises:
        ConfigError: A field cannot be used.
    """

    near_cosine: float = option(0.95, above=0, most=1, rare=True)


@dataclass(frozen=True)
class IntervalOptions(Options):
    """How intervals of an analysis are computed.

    Attributes:
        resamples: Bootstrap resamples of the posts.
        seed: Seed of the resampling.

    Raises:
        ConfigError: A field cannot be used.
    """

    resamples: int = option(1000, least=1, most=MOST_RESAMPLES)
    seed: int = option(0, least=0, most=MOST_SEED)


@dataclass(frozen=True)
class SharedPostsOptions(IntervalOptions):
    """On which posts runs are compared, and how intervals are computed.

    Attributes:
        shared_posts: Compare runs of different protocols or splits on the posts that all of them
            held out.

    Raises:
        ConfigError: A field cannot be used.
    """

    shared_posts: bool = False


@dataclass(frozen=True)
class CompareOptions(SharedPostsOptions, LeakOptions):
    """How runs are compared.

    Attributes:
        resamples: Bootstrap resamples of the posts.

    Raises:
        ConfigError: A field cannot be used.
    """

    resamples: int = option(2000, least=1, most=MOST_RESAMPLES)


@dataclass(frozen=True)
class RescoringOptions(IntervalOptions):
    """How runs are scored again on changed features, and how intervals are computed.

    Attributes:
        cache: The folder of all caches. By default each run's caches, where it found them.
        device: auto, cpu, cuda or mps.

    Raises:
        ConfigError: A field cannot be used.
    """

    cache: Path | None = None
    device: str = "auto"


class Replacement(StrEnum):
    """What takes the place of a modality's features."""

    MEAN = "mean"
    ZERO = "zero"


@dataclass(frozen=True)
class ContributionOptions(RescoringOptions, SharedPostsOptions):
    """How the contribution of each modality is measured.

    Attributes:
        replacement: What takes the place of a modality in Shapley values.
        draws: How often the posts of a modality are exchanged at random: in all seeds of a head
            together, and once in each at least.
        by_labels: End with an error if posts have no separate labels of text and image.

    Raises:
        ConfigError: A field cannot be used.
    """

    replacement: Replacement = Replacement.MEAN
    draws: int = option(5, least=1, most=1000)
    by_labels: bool = False


@dataclass(frozen=True)
class CalibrationOptions(SharedPostsOptions):
    """How probabilities are calibrated, and how sets of classes are chosen.

    Attributes:
        coverage: Share of posts whose set of classes has the true one.

    Raises:
        ConfigError: A field cannot be used.
    """

    coverage: float = option(0.9, above=0, below=1)


@dataclass(frozen=True)
class DuplicatesOptions(SharedPostsOptions, LeakOptions):
    """Which posts count as alike, and how many are listed.

    Attributes:
        listed: Groups that are listed; the record names all.

    Raises:
        ConfigError: A field cannot be used.
    """

    listed: int = option(10, least=0, most=1_000_000)


@dataclass(frozen=True)
class ShiftOptions(SharedPostsOptions):
    """How scores are weighted to other class distributions.

    Attributes:
        distribution: A distribution of classes, such as positive=0.5,neutral=0.3,negative=0.2;
            may be given several times. By default equal shares, and each class three times as
            frequent.

    Raises:
        ConfigError: A field cannot be used.
    """

    distribution: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelsOptions(RescoringOptions):
    """How doubtful labels are found.

    Attributes:
        head: The head or baseline whose out-of-fold probabilities judge the labels.
        folds: Folds; each post is judged by a head that was trained without it.
        listed: How many doubtful posts are listed; the record names all.
        with_posts: List text and picture of each doubtful post. Off by default: data sets are for
            research only, and records are shared.

    Raises:
        ConfigError: A field cannot be used.
    """

    head: str = "logistic"
    folds: int = option(5, least=3, most=1000)
    listed: int = option(20, least=0, most=1_000_000)
    with_posts: bool = False


@dataclass(frozen=True)
class DegradeOptions(RescoringOptions):
    """How texts and pictures are damaged.

    Attributes:
        damage: A damage, such as jpeg; may be given several times. By default all that change what
            the heads read.
        strengths: Other strengths of a damage than its default ones, such as jpeg=25,10,5; may be
            given several times.
        score: The score of curves and areas.
        data: The posts, if they are not where the runs found them.

    Raises:
        ConfigError: A field cannot be used.
    """

    damage: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()
    score: str = option("accuracy", among=("accuracy", "f1_macro"))
    data: Path | None = None


@dataclass(frozen=True)
class MissingOptions(RescoringOptions):
    """How heads are scored without text or picture.

    Attributes:
        score: The score.

    Raises:
        ConfigError: A field cannot be used.
    """

    score: str = option("accuracy", among=("accuracy", "f1_macro"))


@dataclass(frozen=True)
class TransferOptions(RescoringOptions):
    """On which other data sets runs are scored.

    Attributes:
        data: Another data set; may be given several times. Runs of several data sets are scored on
            each other's in any case.
        map: A class of one data set that is called otherwise in another, such as happy=positive;
            may be given several times.
        score: The score.

    Raises:
        ConfigError: A field cannot be used.
    """

    data: tuple[str, ...] = ()
    map: tuple[str, ...] = ()
    score: str = option("accuracy", among=("accuracy", "f1_macro"))


@dataclass(frozen=True)
class AttentionMapOptions(RescoringOptions):
    """How attention is measured.

    Attributes:
        post: A post of the compared part, of which words and patches are shown by their weights,
            of the first seed of each head.
        flat: From this normalised entropy attention is called flat.

    Raises:
        ConfigError: A field cannot be used.
    """

    post: str = ""
    flat: float = option(0.95, above=0, most=1, rare=True)
