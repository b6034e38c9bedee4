"""How runs are compared; torch-free, so that help screens stay fast."""

from dataclasses import dataclass

from mvsa_pipe.ranges import MOST_RESAMPLES, counted, require_fitting


@dataclass(frozen=True)
class CompareOptions:
    """How runs are compared.

    Attributes:
        shared_posts: Compare runs of different protocols or splits on the posts that all of them
            held out.
        resamples: Bootstrap resamples of the posts.
        seed: Seed of the resampling.

    Raises:
        ConfigError: A field cannot be used.
    """

    shared_posts: bool = False
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        require_fitting(
            self,
            {
                "resamples": counted(self.resamples, 1, MOST_RESAMPLES),
                "seed": (0 <= self.seed < 2**63, "a whole number from 0"),
            },
        )
