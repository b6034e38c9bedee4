"""What a user can say about the quickstart; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class QuickstartOptions:
    """How large the quickstart is, and where it writes.

    Attributes:
        folder: Where posts, caches and records go.
        posts: How many synthetic posts are written.
        seeds: Runs of each head.
        seed: Seed of posts and first run.
    """

    folder: Path = Path("quickstart")
    posts: int = 2400
    seeds: int = 1
    seed: int = 0
