"""Prints the best possible accuracies of synthetic posts."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from mvsa_pipe.cli.console import out, percent
from mvsa_pipe.cli.tables import add_numbers, titled

if TYPE_CHECKING:
    from mvsa_pipe.posts.synthetic.ceilings import Ceilings

_WORDS = {
    "majority": "the most frequent class",
    "text": "the text alone",
    "image": "the picture alone",
    "additive": "one logit a modality and class, added",
    "pooled": "any function of both pooled vectors",
    "fused": "any function of all tokens",
}


def show_ceilings(expected: "Ceilings", realised: "Ceilings", posts: str) -> None:
    """Prints a row a reader: its accuracy in expectation, and that on the named posts."""
    table = titled("best possible accuracy %", "reader")
    table.add_column("what it reads")
    add_numbers(table, "expected", f"on {posts}")
    on_posts = asdict(realised)
    for name, value in asdict(expected).items():
        table.add_row(name, _WORDS[name], percent(value), percent(on_posts[name]))
    out.print(table)
