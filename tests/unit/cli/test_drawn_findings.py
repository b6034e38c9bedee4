"""Plots of findings as files, named so that they sort and say what they show."""

from mvsa_pipe.analysis.finding import Finding, LinePlot, OverlayPlot, Series
from mvsa_pipe.cli.analyze import _draw


def test_each_plot_is_a_png_file(tmp_path):
    plots = [
        LinePlot("Entropy / by epoch", "epoch", "share", [Series("a", [0.0, 1.0], [0.5, 0.4])]),
        OverlayPlot("../cmac, text → picture", "7", [("good", 0.7)], [[0.1, 0.9], [0.0, 0.0]]),
    ]
    finding = Finding(
        analysis="attention",
        question="",
        verdict=[],
        tables=[],
        plots=plots,
        method=[],
        runs=[],
        protocol="",
        posts=0,
        options={},
    )
    paths = _draw(finding, [], tmp_path / "new" / "plots")
    assert [path.name for path in paths] == [
        "attention-01-entropy-by-epoch.png",
        "attention-02-cmac-text-picture.png",
    ]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in paths)
    assert {path.parent for path in paths} == {tmp_path / "new" / "plots"}
