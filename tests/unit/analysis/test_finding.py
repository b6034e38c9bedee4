"""Records of analyses that cannot be shown are refused as they are read."""

import msgspec
import pytest

from mvsa_pipe.analysis.finding import FindingTable, MatrixPlot, OverlayPlot, Series
from mvsa_pipe.json_schema import validated

TABLE = {"title": "t", "columns": ["head", "accuracy"], "rows": [["a", 0.5]]}
LINE = {"name": "a", "x": [0, 1], "y": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]}
MATRIX = {
    "type": "matrix",
    "title": "m",
    "row_label": "r",
    "column_label": "c",
    "rows": ["a"],
    "columns": ["b", "c"],
    "values": [[0.1, None]],
}
OVERLAY = {"type": "overlay", "title": "o", "post_id": "1", "patches": [[0.1, 0.2], [0.3, 0.4]]}


@pytest.mark.parametrize(
    ("kind", "record", "damage"),
    [
        (FindingTable, TABLE, {"rows": [["a"]]}),
        (FindingTable, TABLE, {"rows": [["a", 0.5], ["a", 0.5, 0.5]]}),
        (Series, LINE, {"x": [0]}),
        (Series, LINE, {"high": [0.6]}),
        (MatrixPlot, MATRIX, {"values": []}),
        (MatrixPlot, MATRIX, {"values": [[0.1]]}),
        (OverlayPlot, OVERLAY, {"patches": [[0.1, 0.2], [0.3]]}),
    ],
)
def test_lists_of_wrong_lengths_are_refused(kind, record, damage):
    assert msgspec.to_builtins(validated(record, kind)).items() >= record.items()
    with pytest.raises(ValueError, match="are needed"):
        validated(record | damage, kind)
