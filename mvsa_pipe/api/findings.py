"""Findings that show themselves in notebooks and become pandas frames."""

from typing import TYPE_CHECKING

from mvsa_pipe.analysis.finding import Estimate, Finding, FindingTable
from mvsa_pipe.errors import ConfigError, name_some

if TYPE_CHECKING:
    import pandas as pd


class ShownFinding(Finding, frozen=True, kw_only=True):
    """A finding with its tables as frames, which a notebook shows with tables and plots."""

    @classmethod
    def of(cls, finding: Finding) -> "ShownFinding":
        """The same finding."""
        return cls(**{name: getattr(finding, name) for name in finding.__struct_fields__})

    def to_frame(self, title: str = "") -> "pd.DataFrame":
        """A table as a pandas frame; bounds of intervals are columns of their own.

        Args:
            title: How the table's title begins; the first table by default.

        Raises:
            ConfigError: The finding has no such table.
        """
        titles = [table.title for table in self.tables]
        if not any(known.startswith(title) for known in titles):
            raise ConfigError(
                "This finding has no such table",
                where=self.analysis,
                expected=name_some(titles) or "no table at all",
                found=title,
            )
        return table_frame(self.table(title))

    def __repr__(self) -> str:
        tables = ", ".join(f"{table.title} ({len(table.rows)} rows)" for table in self.tables)
        return "\n".join([self.question, *self.verdict, f"tables: {tables}"])

    def _repr_html_(self) -> str:
        from mvsa_pipe.reports.notebook import finding_html

        return finding_html(self)


def table_frame(table: FindingTable) -> "pd.DataFrame":
    """A table as a frame with numbers as numbers."""
    import pandas as pd

    columns: dict[str, list[object]] = {}
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        columns[name] = [c.value if isinstance(c, Estimate) else c for c in cells]
        if any(isinstance(cell, Estimate) for cell in cells):
            for bound in ("low", "high"):
                columns[f"{name} {bound}"] = [getattr(cell, bound, None) for cell in cells]
    return pd.DataFrame(columns)
