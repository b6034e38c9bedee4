"""Options of the report; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.analysis.options import CompareOptions
from mvsa_pipe.options import option

REPORT_FILE = "report.html"
# The default outputs of the other formats; CSV is a folder with a file for each table.
_OUTPUTS = {"html": REPORT_FILE, "markdown": "report.md", "latex": "report.tex", "csv": "report"}

_MOST_POSTS, _MOST_HEADS = 200, 10_000


@dataclass(frozen=True)
class ReportOptions(CompareOptions):
    """What a report contains.

    Attributes:
        output: The file to write; report.html by default. CSV is written into a folder, a file for
            each table.
        format: One of html, markdown, latex, csv. Those other than html have the verdict and the
            tables.
        reference: The head that the others are compared with. By default logistic, else the best
            single modality, else the leader.
        with_posts: Show texts and pictures of posts on which heads disagree, or are sure and wrong;
            otherwise their ids alone. Data sets are research-only.
        hard_posts: Posts in each of these two lists.
        curves: Heads with curves, from the best; the others have tables alone.
        check: Check the data set, as mvsa data check does.

    Raises:
        ConfigError: A field cannot be used.
    """

    output: Path | None = option(None, "--output", "-o")
    format: str = option("html", among=_OUTPUTS)
    reference: str = ""
    with_posts: bool = False
    hard_posts: int = option(12, least=0, most=_MOST_POSTS, rare=True)
    curves: int = option(40, least=0, most=_MOST_HEADS, rare=True)
    check: bool = option(True, rare=True)

    @property
    def path(self) -> Path:
        """Where the report is written."""
        return Path(_OUTPUTS[self.format]) if self.output is None else self.output
