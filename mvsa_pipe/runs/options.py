"""What a run is asked about; torch-free, so that help screens stay fast."""

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.ranges import MOST_BATCH, MOST_SEEDS, counted, require_fitting


@dataclass(frozen=True)
class PostsChoice:
    """Which posts, and how they are read.

    Attributes:
        path: A folder, zip or table of posts.
        read: How they are read.
    """

    path: Path = Path("data")
    read: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True)
class DataChoice(PostsChoice):
    """Which posts, read and split how.

    Attributes:
        path: A folder, zip or table of posts.
        split: ``random-TRAIN:VAL:TEST``, ``published``, the path of a split, or ``FOLDER:3`` for
            one of several folds; ``auto`` takes the split that the data set comes with, or else
            ``random-8:1:1``.
        split_seed: Seed of a random split.
    """

    split: str = "auto"
    split_seed: int = 0


@dataclass(frozen=True)
class CacheChoice:
    """Which caches.

    Attributes:
        folder: The folder of all caches.
        text: The text backbone's name, ``@`` and digits of a fingerprint behind it if wanted;
            several joined by ``+`` are read together; a bench compares several that stand behind
            commas; the newest unless named.
        image: The image backbone's, alike.
        image_grid: Image tokens are averaged to at most so many rows and columns; 0 keeps all.
        memory_gib: Token states that need more memory are read from the disk again and again, in
            blocks: slower, with the same results; 0 takes half of what is free.
        layer_mix: What heads read of caches of several layers: last takes the last, as of caches
            of the last alone; mean averages all; learned weighs them by weights trained with the
            head.

    Raises:
        ConfigError: A field cannot be used.
    """

    folder: Path = Path("cache")
    text: str | None = None
    image: str | None = None
    image_grid: int = 0
    memory_gib: float = 0.0
    layer_mix: LayerMix = LayerMix.LAST

    def __post_init__(self) -> None:
        require_fitting(
            self,
            {
                "image_grid": counted(self.image_grid, 0, MOST_BATCH),
                "memory_gib": (0 <= self.memory_gib < float("inf"), "at least 0"),
            },
        )
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
        """What is to be compared for one modality; one ``None`` for the newest alone."""
        chosen = self.text if modality is Modality.TEXT else self.image
        return (None,) if chosen is None else tuple(chosen.split(","))

    def pairs(self) -> "tuple[CacheChoice, ...]":
        """Every text with every image that is to be compared, in the order typed."""
        every = product(self.alternatives(Modality.TEXT), self.alternatives(Modality.IMAGE))
        return tuple(replace(self, text=text, image=image) for text, image in every)

    def names_of(self, modality: Modality) -> tuple[str | None, ...]:
        """The backbones chosen for one modality; one ``None`` for the newest.

        A ``+`` or ``,`` always stands between two: a cache whose own name holds one is chosen by
        ``@`` and digits alone.

        Raises:
            ConfigError: Several are named to be compared.
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
class SeedChoice:
    """How many seeds, and whether their runs are one.

    Attributes:
        seeds: Runs of the head, with seeds counted up from --seed.
        ensemble: Whether they are one run that averages their probabilities.

    Raises:
        ConfigError: There is no run, or nothing to average.
    """

    seeds: int = 1
    ensemble: bool = False

    def __post_init__(self) -> None:
        require_fitting(self, {"seeds": counted(self.seeds, 1, MOST_SEEDS)})
        if self.ensemble and self.seeds == 1:
            raise ConfigError(
                "--ensemble has nothing to average",
                expected="at least two seeds",
                found="--seeds 1",
                hint="--seeds 5 --ensemble",
            )

    def counted_from(self, seed: int) -> tuple[int, ...]:
        """The seeds themselves."""
        return tuple(range(seed, seed + self.seeds))


@dataclass(frozen=True)
class InferenceOptions:
    """What a run is asked about, and where features are kept.

    Attributes:
        data: Other posts; the run's own unless named.
        part: ``train``, ``val`` or ``test`` of the run's own split, or ``all``; unless named, test
            where the run's split has one, else val, and of other posts all that the run was
            neither trained nor selected on.
        cache: The folder of all caches.
        device: Where head and backbones compute.
        on_bad_post: What happens to unreadable posts that must be extracted.
    """

    data: Path | None = None
    part: str | None = None
    cache: Path = Path("cache")
    device: str = "auto"
    on_bad_post: BadPostPolicy = BadPostPolicy.ERROR
