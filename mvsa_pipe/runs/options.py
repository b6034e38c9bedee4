"""Options of runs: posts, caches, seeds; torch-free, so that help screens stay fast."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import MOST_SEEDS, Options, group, option
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.posts.post import PostSet


@dataclass(frozen=True)
class PostsChoice(Options):
    """The posts, and how they are read.

    Attributes:
        path: Folder, zip or table of posts.
        read: How they are read.
    """

    panel = "Posts"

    path: Path = option(Path("data"), "--data")
    read: ReadOptions = group(ReadOptions)


@dataclass(frozen=True)
class DataChoice(PostsChoice):
    """The posts, and how they are read and split.

    Attributes:
        split: auto, published, random-8:1:1, or a path. ``auto`` is the published split if there
            is one, else ``random-8:1:1``; other shares of train, val and test are written the
            same way; ``FOLDER:3`` is one of several folds.
        split_seed: Seed of a random split.
        given: The posts themselves, where they were read or built before.
    """

    split: str = "auto"
    split_seed: int = 0
    given: PostSet | None = option(None, hidden=True)

    def posts(self) -> PostSet:
        """The posts: those that were given, or what is at the path.

        Raises:
            DataError: They cannot be read.
        """
        if self.given is not None:
            return self.given
        from mvsa_pipe.posts.reading import read_posts  # not needed by help screens

        return read_posts(self.path, self.read)

    @property
    def recorded_path(self) -> str | None:
        """The path that a run records; ``None`` for posts that were built in memory."""
        in_memory = self.given is not None and self.given.path is None
        return None if in_memory else str(self.path.resolve())


@dataclass(frozen=True)
class CacheChoice(Options):
    """The caches to read.

    Attributes:
        folder: The folder of all caches.
        text: Text backbone; the newest by default. NAME, or NAME@DIGITS with the first
            digits of a fingerprint; NAME+NAME joins several; a bench compares NAME,NAME.
        image: Image backbone; the newest by default. Written like --text.
        memory_gib: Most memory for token states; 0 is half of the free memory. Larger states are
            streamed from the disk: slower, with the same results.
        features: How hidden states become what heads read.

    Raises:
        ConfigError: A field cannot be used.
    """

    panel = "Caches"

    folder: Path = option(Path("cache"), "--cache")
    text: str | None = None
    image: str | None = None
    memory_gib: float = option(0.0, least=0, rare=True)
    features: FeatureOptions = group(FeatureOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        for modality in Modality:
            every = self.alternatives(modality)
            for names in (every, *(name.split("+") for name in every if name is not None)):
                twice = sorted({name for name in names if name and names.count(name) > 1})
                if "" in names or twice:
                    raise ConfigError(
                        f"--{modality} cannot be used",
                        expected="NAME, or different ones as NAME+NAME; a bench compares NAME,NAME",
                        found=f"{twice[0]} twice" if twice else repr(",".join(map(str, every))),
                    )

    def alternatives(self, modality: Modality) -> tuple[str | None, ...]:
        """The backbones to compare for one modality; a single ``None`` is the newest."""
        chosen = self.text if modality is Modality.TEXT else self.image
        return (None,) if chosen is None else tuple(chosen.split(","))

    def names_of(self, modality: Modality) -> tuple[str | None, ...]:
        """The backbones chosen for one modality; a single ``None`` is the newest.

        ``+`` and ``,`` are always separators: a cache whose name contains one is chosen by ``@``
        and digits alone.

        Raises:
            ConfigError: Several alternatives are named.
        """
        every = self.alternatives(modality)
        if len(every) > 1:
            raise ConfigError(
                f"--{modality} names several backbones to compare",
                expected="NAME, or NAME+NAME to read both together",
                found=",".join(map(str, every)),
                hint="mvsa bench compares them",
            )
        (chosen,) = every
        return (None,) if chosen is None else tuple(chosen.split("+"))


@dataclass(frozen=True)
class SeedChoice(Options):
    """The number of seeds, and whether they form an ensemble.

    Attributes:
        seeds: Runs of the head. Their seeds count up from --seed.
        ensemble: Average the seeds' probabilities. The seeds make one run.

    Raises:
        ConfigError: There is no run, or nothing to average.
    """

    panel = "Training"

    seeds: int = option(1, least=1, most=MOST_SEEDS)
    ensemble: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ensemble and self.seeds == 1:
            raise ConfigError(
                "--ensemble has nothing to average",
                expected="at least two seeds",
                found="--seeds 1",
                hint="--seeds 5 --ensemble",
            )

    def counted_from(self, seed: int) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(seed, seed + self.seeds))


@dataclass(frozen=True)
class InferenceOptions(Options):
    """What a run is asked about, and where features are kept.

    Attributes:
        data: Other posts; by default the run's own.
        given: Other posts themselves, where they were read or built before.
        part: train, val or test of the run's split, or all. By default test, or val of a split
            without test; for other posts, all that the run was neither trained nor selected on.
        cache: The folder of all caches.
        device: auto, cpu, cuda or mps.
        head: The class of the run's head, as FILE.py:CLASS. Only needed for an own head that is
            not where the run says, has changed, or was not run by you before.
        on_bad_post: End at an unreadable post, or skip it.
        decode: How pictures become pixels. As of mvsa extract.
        calibrated: Give probabilities at the run's temperature, which is fitted on its validation
            posts; predicted classes stay the same.
    """

    data: Path | None = None
    given: PostSet | None = option(None, hidden=True)
    part: str | None = option(None, "--split")
    cache: Path = Path("cache")
    device: str = "auto"
    head: str | None = option(None, rare=True)
    on_bad_post: BadPostPolicy = option(BadPostPolicy.ERROR, "--on-bad-image", "--on-bad-post")
    decode: Decode = option(Decode.AUTO, rare=True)
    calibrated: bool = False

    @property
    def names_posts(self) -> bool:
        """Whether other posts than the run's own are asked about."""
        return self.data is not None or self.given is not None


@dataclass(frozen=True)
class ReproduceOptions(Options):
    """What a run is trained again from, and where the new run goes.

    Attributes:
        data: The run's posts, if they are not where they were.
        given: The posts themselves, where they were read or built before.
        cache: The folder of all caches.
        output: Keep the new run as this folder. By default only the answer is kept.
        device: auto, cpu, cuda or mps; as recorded by default.
        head: The class of the run's head, as FILE.py:CLASS. Only needed for an own head that is
            not where the run says, has changed, or was not run by you before.
        decode: How pictures become pixels. As of mvsa extract.
    """

    data: Path | None = None
    given: PostSet | None = option(None, hidden=True)
    cache: Path = Path("cache")
    output: Path | None = None
    device: str | None = None
    head: str | None = option(None, rare=True)
    decode: Decode = option(Decode.AUTO, rare=True)


def reproduce_command(run: str, caches: CacheChoice) -> str:
    """The command line that trains a run again, to be typed in the same folder."""
    where = [] if caches.folder == CacheChoice.folder else ["--cache", str(caches.folder)]
    return shlex.join(["mvsa", "reproduce", run, *where])
