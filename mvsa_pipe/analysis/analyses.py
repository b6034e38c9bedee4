"""The table of analyses; reading it imports neither torch nor NumPy.

A new analysis is one file, its options in ``analysis.options``, and one row here: ``mvsa analyze``,
``mvsa_pipe.analyze`` and the report read this table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mvsa_pipe.analysis.options import (
    AttentionMapOptions,
    CalibrationOptions,
    ContributionOptions,
    DegradeOptions,
    DuplicatesOptions,
    IntervalOptions,
    LabelsOptions,
    MissingOptions,
    ShiftOptions,
    TransferOptions,
)
from mvsa_pipe.options import Options
from mvsa_pipe.registry import Registry, Row

if TYPE_CHECKING:
    from mvsa_pipe.analysis.finding import Finding
    from mvsa_pipe.progress import Progress
    from mvsa_pipe.runs import Run


class Analyse(Protocol):
    """The function of an analysis."""

    def __call__(
        self,
        runs: "Sequence[Run]",
        options: Any,  # noqa: ANN401  # of the class that the row names
        progress: "Progress",
    ) -> "Finding":
        """Analyses some runs.

        Raises:
            MvsaError: The runs or the options do not allow it; says what does.
        """


@dataclass(frozen=True)
class AnalysisRow(Row):
    """One analysis.

    Attributes:
        options: The class of its options.
    """

    options: type[Options] = IntervalOptions


def _row(name: str, summary: str, source: str, options: type[Options]) -> AnalysisRow:
    return AnalysisRow(name, f"mvsa_pipe.analysis.{name}:{name}", summary, source, options)


_ROWS = [
    _row(
        "attention",
        "What heads attend to, and whether it matters.",
        "Jain and Wallace 2019, arXiv:1902.10186",
        AttentionMapOptions,
    ),
    _row(
        "labels",
        "Labels that are probably wrong, and what their noise costs.",
        "Northcutt, Jiang and Chuang 2021, JAIR 70",
        LabelsOptions,
    ),
    _row(
        "contribution",
        "What each modality contributes, and whether fusion helps.",
        "Shapley 1953; Hu et al. 2022, SHAPE; Gat et al. 2021, Perceptual Score",
        ContributionOptions,
    ),
    _row(
        "calibration",
        "Whether probabilities can be trusted; sets of classes, and abstention.",
        "Guo et al. 2017; Angelopoulos and Bates 2023; Geifman et al. 2019",
        CalibrationOptions,
    ),
    _row(
        "duplicates",
        "Posts that share a text or a picture, inside and across parts.",
        "Zauner 2010, perceptual image hashes",
        DuplicatesOptions,
    ),
    _row(
        "shift",
        "Scores under other distributions of classes.",
        "Saerens et al. 2002, Neural Computation 14",
        ShiftOptions,
    ),
    _row(
        "degrade",
        "Scores on damaged texts and pictures.",
        "Hendrycks and Dietterich 2019, arXiv:1903.12261",
        DegradeOptions,
    ),
    _row(
        "missing",
        "Scores where text or picture is absent.",
        "Neverova et al. 2016, ModDrop, arXiv:1501.00102",
        MissingOptions,
    ),
    _row(
        "transfer",
        "Scores on other data sets than the one of training.",
        "Torralba and Efros 2011, Unbiased Look at Dataset Bias, CVPR",
        TransferOptions,
    ),
]
ANALYSES: Registry[Analyse] = Registry("analysis", _ROWS)
ANALYSIS_OPTIONS = {row.name: row.options for row in _ROWS}
