"""Options of benches; torch-free, so that help screens stay fast."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from mvsa_pipe.backbones.presets import preset_named
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads import HEADS, is_faithful, named_head
from mvsa_pipe.options import MOST_SEEDS, Options, option, typed_words
from mvsa_pipe.user_code import is_reference


@dataclass(frozen=True)
class BenchOptions(Options):
    """The heads, seeds and settings that a bench compares.

    Attributes:
        preset: A named choice of encoders and heads, see mvsa backbones, for what is not named.
        heads: Head to train, as for fit; repeatable. By default all built-in heads except faithful
            variants.
        seeds: Runs of each head. Their seeds count up from --seed.
        resplit: Draw a random split for every seed, with the seed as split seed.
        folds: Cross-validation. A number of random folds, which keep duplicates together; or the
            folder of published ones. Every post is tested once, by every seed.
        vary: Values of an option to compare, as name=value,value. The option is one of training or
            of the heads; a value that contains commas must be in double quotes; repeat for the
            product of several.
        match_parameters: Choose widths by which all heads have like parameter counts. Heads without
            a width change that of their classifier; baselines stay as they are.
        budget: Parameters for --match-parameters: median of the heads as they are, a head whose
            parameters the others get, or a number.
        blend: Also average each head's runs over different backbones. Runs are averaged seed by
            seed, with weights that maximise the likelihood of the validation part.
        force: Train recorded runs again.
        ray: Train on a Ray cluster. local starts one on this machine; auto, HOST:PORT or
            ray://HOST:PORT is the address of a cluster whose machines see posts and caches under
            the same paths; empty trains here.

    Raises:
        ConfigError: A field cannot be used.
    """

    preset: str = option("", rare=True)
    heads: tuple[str, ...] = option((), "--head")
    seeds: int = option(5, least=1, most=MOST_SEEDS)
    resplit: bool = option(False, rare=True)
    folds: str = option("", rare=True)
    vary: tuple[str, ...] = ()
    match_parameters: bool = False
    budget: str = option("median", rare=True)
    blend: bool = False
    force: bool = False
    ray: str = option("", rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset:
            preset_named(self.preset)
        if self.folds and self.resplit:
            raise ConfigError(
                "--folds and --resplit exclude each other",
                expected="folds that are the same for every seed, or a split for every seed",
                found=f"--folds {self.folds} --resplit",
            )
        if self.budget != "median" and not self.match_parameters:
            raise ConfigError(
                "--budget has no effect by itself",
                expected="--match-parameters with it",
                found=f"--budget {self.budget}",
            )
        for name in self.heads:
            if not is_reference(name):
                HEADS.row(name)

    def named(self) -> "BenchOptions":
        """The same options with registered names; users' own heads are registered.

        Raises:
            ConfigError: The file or class does not exist, or is not a usable head.
        """
        return replace(self, heads=tuple(map(named_head, self.heads)))

    def chosen_heads(self) -> tuple[str, ...]:
        """The heads to compare, each once."""
        every = (row.name for row in HEADS.built_in if not is_faithful(row))
        default = preset_named(self.preset).heads if self.preset else every
        return tuple(dict.fromkeys(self.heads or default))


def bench_command(runs: Path, *options: Options) -> str:
    """The command line that repeats a bench, to be typed in the same folder.

    Args:
        runs: The folder of all runs.
        options: Everything else that the bench was made with.
    """
    where = [] if runs == Path("runs") else ["--runs", str(runs)]
    return shlex.join(["mvsa", "bench", *typed_words(*options), *where])
