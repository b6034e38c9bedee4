"""What a bench compares; torch-free, so that help screens stay fast."""

from dataclasses import dataclass, replace

from mvsa_pipe.heads import HEADS, is_faithful, named_head
from mvsa_pipe.options import MOST_SEEDS, Options, option
from mvsa_pipe.user_code import is_reference


@dataclass(frozen=True)
class BenchOptions(Options):
    """What a bench compares.

    Attributes:
        heads: Head to train, as of fit; repeatable. Without any, all of mvsa-pipe's own but the
            faithful variants.
        seeds: Runs of each head. Their seeds are counted up from --seed.
        resplit: Draw a random split for every seed, with the seed as split seed.
        vary: Values of an option to compare, as name=value,value. The option is one of training or
            of the heads; a value that contains commas stands in double quotes; repeat for the
            product of several.
        force: Train recorded runs again.
        ray: Train on a Ray cluster. local starts one on this machine; auto, HOST:PORT or
            ray://HOST:PORT is the address of one whose machines see posts and caches under the
            same paths; empty trains here.

    Raises:
        ConfigError: A field cannot be used.
    """

    heads: tuple[str, ...] = option((), "--head")
    seeds: int = option(5, least=1, most=MOST_SEEDS)
    resplit: bool = option(False, rare=True)
    vary: tuple[str, ...] = ()
    force: bool = False
    ray: str = option("", rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.heads:
            if not is_reference(name):
                HEADS.row(name)

    def named(self) -> "BenchOptions":
        """The same with names in the table of heads, to which own heads are added.

        Raises:
            ConfigError: There is no such file or class, or it is no usable head.
        """
        return replace(self, heads=tuple(map(named_head, self.heads)))

    def chosen_heads(self) -> tuple[str, ...]:
        """The heads to compare, each once."""
        default = (row.name for row in HEADS.built_in if not is_faithful(row))
        return tuple(dict.fromkeys(self.heads or default))
