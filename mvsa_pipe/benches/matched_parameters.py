"""Widths by which heads have like parameter counts, so that mechanisms are compared, not sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median_low
from typing import Any

import torch

from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.options import OptionValue, parse_options
from mvsa_pipe.options import Option

# The option that is changed: the first of these that a head has.
_WIDTHS = ("width", "hidden")


@dataclass(frozen=True)
class MatchedHead:
    """A head and the width that brings it nearest to a number of parameters.

    Attributes:
        head: The head.
        option: The option that was changed; empty if it has none.
        value: Its value.
        parameters: Parameters with that value.
        budget: The number of parameters that was sought.
    """

    head: str
    option: str
    value: int
    parameters: int
    budget: int

    @property
    def options(self) -> dict[str, OptionValue]:
        """The option, for the head."""
        return {self.option: self.value} if self.option else {}

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "deviation": self.deviation}

    @property
    def deviation(self) -> float:
        """How far its parameters are from the budget, as a share of it."""
        return self.parameters / self.budget - 1

    def __str__(self) -> str:
        width = f"{self.option}={self.value:,} " if self.option else ""
        return f"{self.head} {width}{self.parameters:,} ({100 * self.deviation:+.1f} %)"


def in_words(heads: Sequence[MatchedHead]) -> str:
    """The widths and parameters of some heads with one budget."""
    return f"widths for {heads[0].budget:,} parameters: {', '.join(map(str, heads))}"


def matched_heads(
    options: BenchOptions, sizes: FeatureSizes, given: Mapping[str, OptionValue]
) -> list[MatchedHead]:
    """The width of every fusion head of a bench, by bisection over counts of heads without memory.

    Baselines have no width, and stay as they are.

    Args:
        options: The heads, and whose parameters the others get.
        sizes: What heads are built for.
        given: Options of the heads that are not the width.

    Raises:
        ConfigError: The width is given too, no head has parameters before training, or the budget
            names no head of the package.
    """
    varied = sorted(set(_WIDTHS) & given.keys())
    if varied:
        raise ConfigError(
            f"--match-parameters chooses {' and '.join(varied)}, which --vary sets too",
            expected="one of them",
            hint="leave --match-parameters out, or vary another option",
        )
    chosen = options.chosen_heads()
    heads = [head for head in chosen if issubclass(HEADS.load(head), FusionHead)]
    if not heads:
        raise _nothing(", ".join(chosen))
    budget = _budget(options.budget, heads, sizes, given)
    return [_matched(head, sizes, given, budget) for head in heads]


def _budget(
    named: str, heads: Sequence[str], sizes: FeatureSizes, given: Mapping[str, OptionValue]
) -> int:
    if named.replace("_", "").replace(",", "").isdecimal():
        return max(int(named.replace("_", "").replace(",", "")), 1)
    if named != "median":
        kind = HEADS.load(named)
        if not issubclass(kind, FusionHead):
            raise _nothing(named)
        return parameters_of(named, sizes, given)
    return median_low([parameters_of(head, sizes, given) for head in heads])


def _nothing(found: str) -> ConfigError:
    return ConfigError(
        "--match-parameters needs a head whose parameters are known before training",
        expected="a fusion head, or a number: --budget 500000",
        found=f"baselines: {found}",
    )


def parameters_of(head: str, sizes: FeatureSizes, options: Mapping[str, OptionValue]) -> int:
    """Parameters of a head with some options; its weights take no memory.

    Raises:
        ConfigError: An option cannot be used.
    """
    kind = HEADS.load(head)
    assert issubclass(kind, FusionHead)  # noqa: S101  # callers ask for no baselines
    with torch.device("meta"):
        return kind.construct(sizes, parse_options(head, kind.Options, options)).parameter_count


def _matched(
    head: str, sizes: FeatureSizes, given: Mapping[str, OptionValue], budget: int
) -> MatchedHead:
    kind = HEADS.load(head)
    names = {field.name: field for field in fields(kind.Options)}
    option = next((name for name in _WIDTHS if name in names), None)
    if option is None:
        return MatchedHead(head, "", 0, parameters_of(head, sizes, given), budget)
    chosen = parse_options(head, kind.Options, given)
    # attention heads share a width evenly
    step = int(getattr(chosen, "n_attn", 1)) if option == "width" else 1
    allowed = Option.of(names[option]).allowed
    most = int(allowed.most) // step if allowed is not None else 16_384 // step
    counts: dict[int, int] = {}

    def count(steps: int) -> int:
        if steps not in counts:
            counts[steps] = parameters_of(head, sizes, {**given, option: steps * step})
        return counts[steps]

    low, high = 1, most
    while low < high:  # the least width with at least the budget
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(middle) < budget else (low, middle)
    nearest = min((max(low - 1, 1), low), key=lambda steps: abs(count(steps) - budget))
    return MatchedHead(head, option, nearest * step, count(nearest), budget)
