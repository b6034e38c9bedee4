"""Options of tuning; torch-free, so that help screens stay fast."""

from dataclasses import dataclass, replace

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads import HEADS, named_head
from mvsa_pipe.options import MOST_SEEDS, Options, option
from mvsa_pipe.user_code import is_reference

_MOST_TRIALS = 100_000


@dataclass(frozen=True)
class TuneOptions(Options):
    """What is tuned, and with how much effort.

    Attributes:
        heads: Head to tune, as for fit; repeatable. All have the same number of trials.
        trials: Settings that are tried for each head.
        together: Settings that are proposed at once. Those of equal shapes are trained as a stack.
        replay: Fresh seeds by which the chosen setting and the defaults are trained again, and
            scored on test.
        sampler: How settings are proposed: tpe, near those that did well, or random.
        prune: End trials whose score is below the median of the others at the same epoch.
        search: An option and the values to try, as name=LOW..HIGH, name=LOW..HIGH,log or
            name=VALUE,VALUE; repeatable. By default all options with a declared range of search.

    Raises:
        ConfigError: A field cannot be used.
    """

    heads: tuple[str, ...] = option((), "--head")
    trials: int = option(32, least=1, most=_MOST_TRIALS)
    together: int = option(8, least=1, most=MOST_SEEDS, rare=True)
    replay: int = option(5, least=1, most=MOST_SEEDS)
    sampler: str = option("tpe", among=("tpe", "random"), rare=True)
    prune: bool = option(True, rare=True)
    search: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.heads:
            raise ConfigError(
                "Nothing to tune",
                expected="--head NAME; several are tuned with equal budgets",
                hint="mvsa heads lists the heads",
            )
        for name in self.heads:
            if not is_reference(name):
                HEADS.row(name)

    def named(self) -> "TuneOptions":
        """The same options with registered names; users' own heads are registered.

        Raises:
            ConfigError: The file or class does not exist, or is not a usable head.
        """
        return replace(self, heads=tuple(dict.fromkeys(map(named_head, self.heads))))
