"""Whether evidence is right as often as it says, on simulated heads; and how long intervals take.

Heads answer posts that are hard for all of them alike; every seed has luck of its own. Of tables of
equal heads, few may show any difference (the false-difference rate); intervals cover the true
accuracy; of two heads that differ by what the resolution calls the smallest difference, the test
finds it as often as it says; and heads of two levels come into the groups that they belong to.
"""

import argparse
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from record import seconds_of, summary, write_record

from mvsa_pipe.metrics.resolution import smallest_difference
from mvsa_pipe.metrics.scores import score
from mvsa_pipe.metrics.standings import LEVEL, standings
from mvsa_pipe.metrics.weighted import Answers

HEADS, RIGHT = 5, 0.75
# Heads of two levels, far enough apart for the smallest test part: three lead, two follow.
LEADING, FOLLOWING, STEP = 3, 2, 0.2


def simulated(
    rights: list[float], seeds: int, posts: int, spread: float, generator: np.random.Generator
) -> list[list[list[Answers]]]:
    """Heads of known accuracy; ``spread`` is the standard deviation of a seed's own accuracy."""
    hardness, labels = generator.normal(size=posts), generator.integers(0, 3, posts)
    heads = []
    for right in rights:
        own, runs = 0.7 * generator.normal(size=posts), []
        for _ in range(seeds):
            ease = (hardness + own + 0.4 * generator.normal(size=posts)) / np.sqrt(1.65)
            share = float(np.clip(right + spread * generator.normal(), 0.01, 0.99))
            hit = ease > NormalDist().inv_cdf(1 - share)
            runs.append(Answers(labels, np.where(hit, labels, (labels + 1) % 3), 3))
        heads.append([runs])
    return heads


def disagreement(difference: float) -> float:
    """Share of posts that one of two simulated runs alone has right, from many posts."""
    two = simulated([RIGHT, RIGHT - difference], 1, 200_000, 0.0, np.random.default_rng(1))
    first, second = (runs[0][0] for runs in two)
    return float(np.mean((first.predicted == first.labels) != (second.predicted == second.labels)))


def rates(posts: int, seeds: int, spread: float, rounds: int) -> dict[str, float | None]:
    """Shares of rounds with a false difference, with the truth covered, and with groups right."""
    generator = np.random.default_rng(posts * 1000 + seeds)
    alarms = covered = parted = parted_mcnemar = grouped = 0
    levels = [RIGHT] * LEADING + [RIGHT - STEP] * FOLLOWING
    delta = smallest_difference(posts, disagreement(0.05))
    for _ in range(rounds):
        found = standings(
            simulated([RIGHT] * HEADS, seeds, posts, spread, generator), resamples=500
        )
        alarms += any(pair.p_holm < LEVEL for pair in found.pairs)
        covered += sum(row.interval[0] <= RIGHT <= row.interval[1] for row in found.rows)
        tiers = standings(simulated(levels, seeds, posts, spread, generator), resamples=500)
        grouped += all((row.group == 1) == (row.place < LEADING) for row in tiers.rows)
        if delta is not None:
            two = simulated([RIGHT, RIGHT - delta], seeds, posts, spread, generator)
            (pair,) = standings(two, resamples=500).pairs
            parted += pair.p_holm < LEVEL
            parted_mcnemar += pair.mcnemar is not None and pair.mcnemar.p_value < LEVEL
    return {
        "false_difference_rate": alarms / rounds,
        "coverage": covered / rounds / HEADS,
        "groups_right": grouped / rounds,
        "difference": delta,
        "found": None if delta is None else parted / rounds,
        "found_by_mcnemar": None if delta is None else parted_mcnemar / rounds,
    }


def seconds_of_scores(posts: int, resamples: int) -> float:
    """Time of all scores with all intervals."""
    generator = np.random.default_rng(0)
    labels: NDArray[np.int64] = generator.integers(0, 3, posts)
    shares = generator.dirichlet([1, 1, 1], posts)
    return seconds_of(
        lambda: score(labels, shares.argmax(axis=1), "abc", shares, resamples=resamples)
    )


def main() -> None:
    """Simulates tables of equal and of different heads, and times intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    table = {
        f"{posts} posts, {seeds} seeds, spread {spread}": rates(posts, seeds, spread, rounds)
        for posts in (450, 1700)
        for seeds, spread in ((1, 0.0), (5, 0.0), (5, 0.01))
    }
    timed = {
        f"{posts} posts, {resamples} resamples": summary(
            [seconds_of_scores(posts, resamples) for _ in range(5)]
        )
        for posts, resamples in ((500, 1000), (1700, 2000))
    }
    configuration = {"rounds": rounds, "heads": HEADS, "accuracy": RIGHT, "level": LEVEL} | {
        "leading": LEADING,
        "following": FOLLOWING,
        "step": STEP,
    }
    for name, row in table.items():
        print(name, row)
    print("records:", write_record("evidence", configuration, {"rates": table, "scores": timed}))


if __name__ == "__main__":
    main()
