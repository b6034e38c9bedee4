"""Options of the quickstart; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.options import MOST_SEED, MOST_SEEDS, Options, option

# Far more than a first look needs; their pictures take about 100 GB.
_MOST_POSTS = 10_000_000


@dataclass(frozen=True)
class QuickstartOptions(Options):
    """Size and folder of the quickstart.

    Attributes:
        folder: Folder of posts, caches and records.
        posts: Number of synthetic posts.
        seeds: Runs of each head.
        seed: Seed of the posts and of the first run.
    """

    folder: Path = Path("quickstart")
    posts: int = option(2400, least=1, most=_MOST_POSTS)
    seeds: int = option(1, least=1, most=MOST_SEEDS)
    seed: int = option(0, least=0, most=MOST_SEED)
