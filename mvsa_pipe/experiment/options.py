"""Which posts, split how, and which caches; torch-free, so that help screens stay fast."""

from dataclasses import dataclass, field
from pathlib import Path

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.formats import ReadOptions


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
        split: ``random-TRAIN:VAL:TEST``, or the path of a split.
        split_seed: Seed of a random split.
    """

    split: str = "random-8:1:1"
    split_seed: int = 0


@dataclass(frozen=True)
class CacheChoice:
    """Which caches.

    Attributes:
        folder: The folder of all caches.
        text: The text backbone's name, ``@`` and digits of a fingerprint behind it if wanted;
            the newest unless named.
        image: The image backbone's, alike.
        image_grid: Image tokens are averaged to at most so many rows and columns; 0 keeps all.
    """

    folder: Path = Path("cache")
    text: str | None = None
    image: str | None = None
    image_grid: int = 0

    def __post_init__(self) -> None:
        if self.image_grid < 0:
            raise ConfigError(
                "--image-grid cannot be used", expected="at least 0", found=self.image_grid
            )

    def of(self, modality: Modality) -> str | None:
        """The choice for one modality."""
        return self.text if modality is Modality.TEXT else self.image
