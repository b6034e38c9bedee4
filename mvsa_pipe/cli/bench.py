"""``mvsa bench``: heads side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.bench.options import BenchOptions
from mvsa_pipe.cli.console import out, percent, progress, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.tables import SHOWN, add_references, score_table
from mvsa_pipe.experiment.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

if TYPE_CHECKING:
    from mvsa_pipe.bench.run import Bench


@expand
def bench(
    options: BenchOptions,
    data: DataChoice,
    caches: CacheChoice,
    training: TrainingOptions,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Train heads with several seeds over the same cache and compare them."""
    from mvsa_pipe.bench.run import run_bench
    from mvsa_pipe.durable import write_json
    from mvsa_pipe.runs import free_name

    with progress(quiet=json) as screen:
        done = run_bench(data, caches, options, training, screen)
    name = free_name(runs, "-".join(["bench", done.protocol.partition("/")[0]]))
    path = runs / name / "bench.json"
    write_json(path, done.as_record())
    if json:
        show_json(done.as_record())
    else:
        show_bench(done)
        out.print(f"records: {path}")


def show_bench(done: "Bench") -> None:
    """The table of a bench, best head last seen first is no order here: as they were asked for."""
    note = "test" if done.part == "test" else "val, on which epochs were selected: optimistic"
    backbones = " + ".join(done.backbones.values())
    table = score_table(f"{done.protocol} · {backbones} · {note}", "head")
    for heading in ("parameters", "s a run"):
        table.add_column(heading, justify="right")
    leaders = {k: max(row.mean[k] for row in done.rows) for k in SHOWN}
    for row in done.rows:
        cells = [
            _cell(row.mean[k], row.deviation[k], row.interval[k], best=row.mean[k] == leaders[k])
            for k in SHOWN
        ]
        marked = row.head if row.batch_independent else f"{row.head} [yellow]†[/]"
        table.add_row(marked, *cells, f"{row.parameters:,}", f"{row.seconds:.1f}")
    table.add_section()
    add_references(table, done.references, "", "")
    out.print(table)
    seeds = len(done.records) // max(1, len(done.rows))
    out.print(
        f"[dim]mean ± standard deviation over {seeds} seeds, \\[95 % bootstrap interval of the "
        "mean over posts\\][/]"
    )
    if not all(row.batch_independent for row in done.rows):
        out.print("[yellow]†[/] [dim]a post's prediction depends on its batch, as published[/]")


def _cell(mean: float, deviation: float, interval: tuple[float, float], *, best: bool) -> str:
    figure = f"{percent(mean)} ± {percent(deviation)}"
    bounds = f"[dim]\\[{percent(interval[0])}, {percent(interval[1])}][/]"
    return f"[bold]{figure}[/] {bounds}" if best else f"{figure} {bounds}"
