"""``mvsa quickstart``: runs the whole pipeline offline."""

from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.cli.bench import show_bench
from mvsa_pipe.cli.ceilings import show_ceilings
from mvsa_pipe.cli.console import line, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.quickstart.options import QuickstartOptions

if TYPE_CHECKING:
    from mvsa_pipe.quickstart.run import Quickstart


@expand
def quickstart(
    options: QuickstartOptions,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Try everything offline: synthetic posts, tiny backbones, every head, a known ceiling."""
    from mvsa_pipe.durable import write_json
    from mvsa_pipe.quickstart.run import quickstart as run

    with progress() as screen:
        done = run(options, screen)
    record = {
        "expected_ceilings": vars(done.expected),
        "realised_ceilings": vars(done.realised),
        "bench": done.bench.as_record(),
    }
    write_json(options.folder / "bench.json", record)
    if json:
        show_json(record)
    else:
        _show(done, options)


def _show(done: "Quickstart", options: QuickstartOptions) -> None:
    show_bench(done.bench)
    show_ceilings(done.expected, done.realised, "these test posts")
    cache = options.folder / "cache"
    line(f"records: {options.folder / 'bench.json'}")
    line(("report: ", "bold"), f"{done.page}, a page to open in a browser")
    line(
        "next: mvsa fit --head dual-attention "
        f"--data {done.data} --cache {cache} --runs {options.folder / 'runs'} "
        f"--text {done.backbones[0]} --image {done.backbones[1]}"
    )
