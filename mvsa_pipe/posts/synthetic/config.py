"""Options of synthetic posts; imports nothing heavy, so that help screens stay fast."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from mvsa_pipe.options import Options, option

# Incremented when the same configuration writes other files.
_VERSION = 3


class Relation(StrEnum):
    """How text and picture determine the label."""

    ADDITIVE = "additive"
    ALIGNED = "aligned"
    OPPOSED = "opposed"
    LOCAL = "local"


@dataclass(frozen=True)
class SyntheticConfig(Options):
    """Configuration of synthetic posts.

    Attributes:
        relation: How text and picture determine the label. additive: each adds to it. aligned:
            both say the same. opposed: the picture keeps or inverts what the text says. local: the
            text names a side of the picture, and that side decides.
        posts: Number of posts.
        strength: Share of posts that follow the relation. Text and picture of the others are drawn
            without regard to the label.
        noise: Probability that a text, or a picture, shows neutral instead of its cue.
        seed: Seed of all draws.
        image_px: Width and height of each picture in pixels.

    Raises:
        ConfigError: A value cannot be used; the message names the option.
    """

    panel = "Synthetic posts"

    relation: Relation = Relation.ADDITIVE
    posts: int = option(1200, least=30, most=1_000_000)
    strength: float = option(1.0, least=0.0, most=1.0)
    noise: float = option(0.05, least=0.0, most=0.99)
    seed: int = option(0, least=0, most=2**32 - 1)
    image_px: int = option(64, least=16, most=2048)

    @property
    def name(self) -> str:
        """The data set's name; with a digest if the configuration is not the default."""
        of_relation = "" if self.relation is Relation.ADDITIVE else f"-{self.relation}"
        plain = f"synthetic{of_relation}-{self.posts}-seed-{self.seed}"
        if self == SyntheticConfig(self.relation, posts=self.posts, seed=self.seed):
            return plain
        digest = hashlib.sha256(json.dumps(self.as_record()).encode()).hexdigest()
        return f"{plain}-{digest[:8]}"

    def as_record(self) -> dict[str, str | int | float]:
        """The configuration as written beside the posts."""
        return {"version": _VERSION, **asdict(self), "relation": self.relation.value}
