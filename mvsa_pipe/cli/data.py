"""``mvsa data``: checks data sets, and writes synthetic ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mvsa_pipe.cli.ceilings import show_ceilings
from mvsa_pipe.cli.console import line, out, show_json
from mvsa_pipe.cli.expand import Verb, expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.errors import name_some
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.posts.synthetic.config import SyntheticConfig

if TYPE_CHECKING:
    from mvsa_pipe.posts.check import CheckReport

app = typer.Typer(
    help="Check data sets, and write synthetic ones.", no_args_is_help=True, add_completion=False
)


@app.command(cls=Verb)
@expand
def check(
    path: Annotated[Path, typer.Argument(help="A folder, zip or table of posts.")],
    read: ReadOptions,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="random-TRAIN:VAL:TEST, published, the path of a split, or FOLDER:3 for a fold; "
            "by default the published split, if there is one.",
        ),
    ] = None,
    split_seed: Annotated[int, typer.Option("--split-seed", help="Seed of a random split.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count posts and labels and find faults that spoil results; exits with 1 if there are any."""
    from mvsa_pipe.posts import parse_split, read_posts
    from mvsa_pipe.posts.check import check_posts
    from mvsa_pipe.posts.splits.make_split import PUBLISHED

    with progress() as screen:
        posts = read_posts(path, read)
        screen.say(f"{len(posts):,} posts of {posts.name}")
        if split is None and posts.published is not None:
            split = PUBLISHED
        divided = None if split is None else parse_split(split, posts, seed=split_seed)
        if posts.published is not None and split != PUBLISHED:
            screen.say("the published split is not used: --split published")
        report = check_posts(posts, divided, screen)
    if json:
        show_json(report.as_record())
    else:
        _show(report)
    if report.spoilers:
        raise typer.Exit(1)


@app.command(cls=Verb)
@expand
def synthesize(
    output: Annotated[Path, typer.Argument(help="The folder to write; it must be new or empty.")],
    config: SyntheticConfig,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Write synthetic posts of a chosen relation between text and picture, with known ceilings.

    The best possible accuracies of the text, of the picture, of a sum of both, of both pooled
    vectors and of all tokens are computed exactly and kept beside the posts.
    """
    from dataclasses import asdict

    from mvsa_pipe.posts.synthetic.write import write_synthetic

    with progress() as screen:
        screen.say(f"writing {config.posts:,} synthetic posts to {output}")
        truth = write_synthetic(output, config)
    if json:
        show_json(
            {
                "name": truth.name,
                "config": config.as_record(),
                "expected_ceilings": asdict(truth.expected),
                "realised_ceilings": asdict(truth.realised),
            }
        )
        return
    line((truth.name, "bold"), f": {config.posts:,} posts in {output}")
    show_ceilings(truth.expected, truth.realised, "these posts")
    line(f"next: mvsa extract --data {output} --backbone tiny-text --partner tiny-patches")


def _show(report: "CheckReport") -> None:
    line((report.tag, "bold"), f": {report.n_posts:,} posts")
    out.print(_label_table(report))
    facts = titled("facts", "what")
    add_numbers(facts, "posts")
    facts.add_column("which")
    for name, count in report.dropped.items():
        facts.add_row(f"dropped: {name}", f"{count:,}", "")
    for name, count in report.notes.items():
        facts.add_row(name, f"{count:,}", "")
    for pair, count in report.label_pairs.items():
        facts.add_row(f"labels (text,image) {pair}", f"{count:,}", "")
    for name, count in report.encodings.items():
        facts.add_row(f"text in {name}", f"{count:,}", "")
    lists = {"text missing": report.missing_texts, "text empty": report.empty_texts}
    lists |= {"id with blanks": report.spaced_ids, "id with odd characters": report.odd_ids}
    lists |= {f"image {fault}": ids for fault, ids in report.images.items()}
    for name, ids in lists.items():
        facts.add_row(name, f"{len(ids):,}", name_some(ids, most=5))
    for name, ids in report.stand_ins.items():
        facts.add_row(
            f"image {name} under different texts", f"{len(ids):,}", name_some(ids, most=5)
        )
    groups = {
        "duplicate groups": report.duplicates,
        "… with conflicting labels": report.conflicting,
        "texts across parts": report.leakage.texts,
        "images across parts": report.leakage.images,
    }
    for name, found in groups.items():
        shown = name_some(("=".join(group) for group in found), most=3)
        facts.add_row(name, f"{len(found):,}", shown)
    out.print(facts)
    for sentence in report.spoilers:
        line(("spoils results", "red"), f": {sentence}")
    if not report.spoilers:
        line(("no faults that spoil results", "green"))


def _label_table(report: "CheckReport") -> Table:
    table = titled("labels", "class")
    add_numbers(table, "posts", *report.split_labels)
    for name, count in report.labels.items():
        parts = [f"{counts.get(name, 0):,}" for counts in report.split_labels.values()]
        table.add_row(name, f"{count:,}", *parts)
    if report.n_unlabelled:
        table.add_row("(none)", f"{report.n_unlabelled:,}", *[""] * len(report.split_labels))
    return table
