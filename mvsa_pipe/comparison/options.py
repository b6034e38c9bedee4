"""How runs are compared; torch-free, so that help screens stay fast."""

from dataclasses import dataclass

from mvsa_pipe.errors import ConfigError


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
        if self.resamples < 1:
            raise ConfigError("--resamples must be at least 1", found=self.resamples)
        if self.seed < 0:
            raise ConfigError("--seed cannot be negative", found=self.seed)
