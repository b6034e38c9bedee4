"""``mv.analyze.contribution(run, …)``: one function for each row of the table of analyses."""

from collections.abc import Callable
from typing import Any

from mvsa_pipe.analysis.analyses import ANALYSES, ANALYSIS_OPTIONS
from mvsa_pipe.api.findings import ShownFinding
from mvsa_pipe.api.keywords import build
from mvsa_pipe.api.run import as_run
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.runs import Run


def _analysis(name: str) -> Callable[..., ShownFinding]:
    row = ANALYSES.row(name)

    def analyse(*runs: Run | str, **options: Any) -> ShownFinding:  # noqa: ANN401
        settings = build(ANALYSIS_OPTIONS[name], options)
        opened = [as_run(run) for run in runs]
        with shown_progress() as screen:
            return ShownFinding.of(ANALYSES.load(name)(opened, settings, screen))

    analyse.__name__ = analyse.__qualname__ = row.target.partition(":")[2]
    analyse.__doc__ = f"""{row.summary}

    Args:
        runs: Runs, or their folders; those that differ in their seed alone are one head.
        options: Options of ``{ANALYSIS_OPTIONS[name].__name__}``.

    Raises:
        MvsaError: The runs or the options do not allow it; says what does.
    """
    return analyse


class Analyses:
    """The analyses by name, as functions: ``mv.analyze.shift(run, resamples=2000)``.

    Every function takes runs, or their folders, and returns a ``Finding`` that a notebook shows
    with tables and plots, and whose ``to_frame()`` is a pandas frame.
    """

    def __getattr__(self, name: str) -> Callable[..., ShownFinding]:
        if name.replace("_", "-") not in ANALYSES:
            raise AttributeError(f"mvsa_pipe.analyze has no analysis {name!r}")
        return _analysis(name.replace("_", "-"))

    def __dir__(self) -> list[str]:
        return [row.target.partition(":")[2] for row in ANALYSES]

    def __repr__(self) -> str:
        return f"<analyses: {', '.join(dir(self))}>"


analyze = Analyses()
