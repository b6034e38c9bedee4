"""Options of the quickstart; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.options import MOST_SEED, MOST_SEEDS, Options, option
from mvsa_pipe.posts.synthetic.config import Relation, SyntheticConfig

# Far more than a first look needs; their pictures take about 100 GB.
_MOST_POSTS = 10_000_000


@dataclass(frozen=True)
class QuickstartOptions(Options):
    """Size and folder of the quickstart.

    Attributes:
        folder: Folder of posts, caches and records.
        relation: How text and picture determine the label. Heads differ most on opposed and local.
        posts: Number of synthetic posts.
        seeds: Runs of each head.
        strength: Share of posts that follow the relation.
        noise: Probability that a text, or a picture, shows neutral instead of its cue.
        seed: Seed of the posts and of the first run.
    """

    folder: Path = Path("quickstart")
    relation: Relation = Relation.ADDITIVE
    posts: int = option(2400, least=1, most=_MOST_POSTS)
    strength: float = option(1.0, least=0.0, most=1.0)
    noise: float = option(0.05, least=0.0, most=0.99)
    seeds: int = option(1, least=1, most=MOST_SEEDS)
    seed: int = option(0, least=0, most=MOST_SEED)

    @property
    def posts_config(self) -> SyntheticConfig:
        """The configuration of its posts."""
        return SyntheticConfig(self.relation, self.posts, self.strength, self.noise, self.seed)
