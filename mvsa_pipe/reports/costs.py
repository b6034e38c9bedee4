"""What trainings cost, against what heads score."""

from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.compare import cost_of
from mvsa_pipe.analysis.contest import Contest, Entry
from mvsa_pipe.analysis.finding import Cell, Estimate, FindingTable, Plot, Point, ScatterPlot
from mvsa_pipe.reports.content import Leaderboard
from mvsa_pipe.reports.leaderboard import unit_of

_MIB = 2**20


def costs(contest: Contest, board: Leaderboard) -> tuple[list[Plot], FindingTable]:
    """Plots of score by seconds and by parameters, and a table of costs."""
    entries = {entry.name: entry for entry in contest.entries}
    ranked = [row for row in board.rows if row.rank is not None]
    score, unit = board.scores[0], unit_of(board.scores[0])
    rows: list[list[Cell]] = []
    points: dict[str, list[Point]] = {"seconds": [], "parameters": []}
    for row in ranked:
        cells = _cells(entries[row.name])
        rows.append([row.name, *cells])
        found = row.scores[0]
        if isinstance(found, Estimate):
            for name, x in (("seconds", cells[0]), ("parameters", cells[1])):
                if isinstance(x, int | float) and x > 0:
                    points[name].append(
                        Point(
                            row.name,
                            float(x),
                            unit * found.value,
                            unit * found.low,
                            unit * found.high,
                            row.kind,
                        )
                    )
    labels = {"seconds": "seconds of one training", "parameters": "trained parameters"}
    plots: list[Plot] = [
        ScatterPlot(
            f"{score.row.title} by {labels[name]}", labels[name], score.heading, some, log_x=True
        )
        for name, some in points.items()
        if some
    ]
    columns = [
        "head",
        "seconds",
        "parameters",
        "peak memory, MiB",
        "GPU memory, MiB",
        "energy, J",
        "device",
    ]
    kept = [0, *(i for i in range(1, len(columns)) if any(row[i] is not None for row in rows))]
    return plots, FindingTable(
        "cost of one training",
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        "Means over seeds, without the extraction of cached features. Peak memory is that of the "
        "process, which runs of one bench share.",
    )


def _cells(entry: Entry) -> list[Cell]:
    found = [cost_of(run.metrics) for run in entry.runs]
    devices = dict.fromkeys(cost.device for cost in found)
    parameters = _mean([cost.parameters_trained for cost in found])
    seconds = _mean([cost.seconds for cost in found])
    energy = _mean([cost.energy_joules for cost in found])
    return [
        None if seconds is None else round(seconds, 2),
        None if parameters is None else round(parameters),
        _mib([cost.peak_memory_bytes for cost in found]),
        _mib([cost.peak_gpu_bytes for cost in found]),
        None if energy is None else round(energy, 1),
        ", ".join(devices) or None,
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mib(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(max(known) / _MIB) if known else None
