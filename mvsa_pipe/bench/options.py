"""What a bench compares; torch-free, so that help screens stay fast."""

from dataclasses import dataclass

from mvsa_pipe.heads import HEADS, is_faithful
from mvsa_pipe.ranges import MOST_SEEDS, counted, require_fitting


@dataclass(frozen=True)
class BenchOptions:
    """What a bench compares.

    Attributes:
        heads: Names of heads; empty takes every head but the faithful variants.
        seeds: Runs of each head, with seeds counted up from the training options' seed.
        resplit: Whether every seed draws a random split of its own, with the seed as split seed.
        vary: Also compare values of an option of training or of the heads, as name=value,value;
            a value that holds commas stands in double quotes; repeat for the product of several.
        force: Whether runs that are recorded are trained again.
        ray: Train on a Ray cluster: local for one of this machine's own, or the address of one
            (auto, HOST:PORT, ray://HOST:PORT) whose machines see posts and caches under the same
            paths; empty trains here.

    Raises:
        ConfigError: A field cannot be used.
    """

    heads: tuple[str, ...] = ()
    seeds: int = 5
    resplit: bool = False
    vary: tuple[str, ...] = ()
    force: bool = False
    ray: str = ""

    def __post_init__(self) -> None:
        for name in self.heads:
            HEADS.row(name)
        require_fitting(self, {"seeds": counted(self.seeds, 1, MOST_SEEDS)})

    def chosen_heads(self) -> tuple[str, ...]:
        """The heads to compare, each once."""
        default = (row.name for row in HEADS if not is_faithful(row))
        return tuple(dict.fromkeys(self.heads or default))
