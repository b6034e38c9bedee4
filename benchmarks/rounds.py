"""Compares this project with peers in alternating rounds, each side in a process of its own.

A process of its own, as memory settings and threads of one side would otherwise help or slow down
the other. Outputs are compared before anything is timed.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from record import processor_seconds_of_children, summary

from mvsa_pipe.cli.spinning import ProcessorTimes

# Cores of other processes from which on a figure is marked: services of an idle machine take less.
BUSY_CORES = 0.2

Work = Callable[[], Any]


class DifferentOutputsError(RuntimeError):
    """A peer returned something else than this project: their times cannot be compared."""


@dataclass(frozen=True)
class Cost:
    """What one call took.

    Attributes:
        wall: Seconds by the clock.
        processor: Seconds that its process and the processes it started computed.
        others: Cores that all other processes took.
    """

    wall: float
    processor: float
    others: float


@dataclass(frozen=True)
class Variant:
    """One way in which a side does the work; all functions are sent to its process.

    Attributes:
        work: What is timed. A folder that it returns is deleted after that.
        output: Returns what ``work`` made, as the comparison takes it; ``None``: it is the result.
        setting: What distinguishes it from the side's other variants, such as a batch size.
    """

    work: Work
    output: Work | None = None
    setting: str = ""


@dataclass(frozen=True)
class Contest:
    """One comparison of this project with peers.

    Attributes:
        ours: This project.
        peers: The variants of each peer; the fastest one is measured.
        difference: How far two outputs are apart.
        tolerance: How far they may be.
    """

    ours: Variant
    peers: Mapping[str, Sequence[Variant]]
    difference: Callable[[Any, Any], float]
    tolerance: float


class Sides:
    """The processes of this project and of its peers; made by ``two_sides``."""

    def __init__(self, ours: ProcessPoolExecutor, peers: ProcessPoolExecutor) -> None:
        self._ours, self._peers = ours, peers

    def compared(self, contest: Contest, rounds: int) -> dict[str, Any]:
        """Ratios of each peer to this project, over 1 where this project is faster.

        Raises:
            DifferentOutputsError: A peer returned something else.
        """
        reference = _output(self._ours, contest.ours)
        differences, chosen = {}, {}
        for peer, variants in contest.peers.items():
            found = [
                contest.difference(reference, _output(self._peers, variant)) for variant in variants
            ]
            differences[peer] = max(found)
            if not differences[peer] <= contest.tolerance:
                raise DifferentOutputsError(
                    f"{peer}: outputs differ by {differences[peer]:.3g}, "
                    f"more than {contest.tolerance:g}"
                )
            chosen[peer] = self._fastest(variants)
        del reference
        ways = {"": (self._ours, contest.ours)}
        ways |= {peer: (self._peers, variant) for peer, variant in chosen.items()}
        costs: dict[str, list[Cost]] = {name: [] for name in ways}
        for number in range(rounds):
            for name in reversed(ways) if number % 2 else ways:
                costs[name].append(_cost(*ways[name]))
        own = costs.pop("")
        return {
            peer: {
                "times_as_fast": summary([c.wall / o.wall for c, o in zip(of, own, strict=True)]),
                "by_processor_time": summary(
                    [c.processor / o.processor for c, o in zip(of, own, strict=True)]
                ),
                "seconds": summary([cost.wall for cost in of]),
                "own_seconds": summary([cost.wall for cost in own]),
                "setting": chosen[peer].setting,
                "largest_difference": float(f"{differences[peer]:.3g}"),
                "mark": mark([*of, *own]),
            }
            for peer, of in costs.items()
        }

    def _fastest(self, variants: Sequence[Variant]) -> Variant:
        """The fastest variant; their outputs were compared, so that all have run once."""
        if len(variants) == 1:
            return variants[0]
        return min(variants, key=lambda variant: _cost(self._peers, variant).wall)


@contextmanager
def two_sides() -> Iterator[Sides]:
    """Starts a process for each side."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as ours, ProcessPoolExecutor(1, spawn) as peers:
        yield Sides(ours, peers)


def mark(costs: Sequence[Cost]) -> str:
    """``*`` if the machine had something else to do in any round."""
    return "*" if max(cost.others for cost in costs) > BUSY_CORES else ""


def timed(work: Work) -> Cost:
    """What a call in this process takes."""
    before, began, children = ProcessorTimes.now(), time.perf_counter(), _computed()
    result = work()
    wall, own, after = time.perf_counter() - began, _computed() - children, ProcessorTimes.now()
    if isinstance(result, Path):
        shutil.rmtree(result)
    busy = 0.0
    if before is not None and after is not None:
        busy = after.busy_seconds - before.busy_seconds
    return Cost(wall, own, max(busy - own, 0.0) / wall)


def _computed() -> float:
    return time.process_time() + processor_seconds_of_children()


def _cost(process: ProcessPoolExecutor, variant: Variant) -> Cost:
    return process.submit(timed, variant.work).result()


def _output(process: ProcessPoolExecutor, variant: Variant) -> Any:  # noqa: ANN401
    return process.submit(variant.output or variant.work).result()
