"""How runs are compared; torch-free, so that help screens stay fast."""

from dataclasses import dataclass

from mvsa_pipe.options import MOST_RESAMPLES, MOST_SEED, Options, option


@dataclass(frozen=True)
class CompareOptions(Options):
    """How runs are compared.

    Attributes:
        shared_posts: Compare runs of different protocols or splits on the posts that all of them
            held out.
        resamples: Bootstrap resamples of the posts.
        seed: Seed of the resampling.
        near_cosine: Cosine of cached vectors from which a test post counts as near a training
            post.

    Raises:
        ConfigError: A field cannot be used.
    """

    shared_posts: bool = False
    resamples: int = option(2000, least=1, most=MOST_RESAMPLES)
    seed: int = option(0, least=0, most=MOST_SEED)
    near_cosine: float = option(0.95, above=0, most=1, rare=True)
