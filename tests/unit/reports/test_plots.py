import base64
import io
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvsa_pipe.analysis.finding import (
    Estimate,
    ForestPlot,
    ForestRow,
    LinePlot,
    MatrixPlot,
    OverlayPlot,
    Plot,
    Point,
    ScatterPlot,
    Series,
)
from mvsa_pipe.reports.label_places import Box, place_labels
from mvsa_pipe.reports.palette import DARK, LIGHT, SENTINELS
from mvsa_pipe.reports.plot_text import description, number, shown, width, with_intervals
from mvsa_pipe.reports.plots import THEME_CSS, captioned, png, svg

EVIL = "$a_b$ <script>&\"' \x1b[31m\u202e 😀 مرحبا 日本 \ufffe \ud800"
LINES = LinePlot(
    "curves",
    "epoch",
    "macro-F1",
    [
        Series("train", [1.0, 2.0, 3.0], [0.5, 0.7, 0.6], [0.4, 0.6, 0.5], [0.6, 0.8, 0.7]),
        Series("logistic", [1.0, 3.0], [0.55, 0.55], dashed=True),
    ],
    marks={"selected": 2.0, "stopped": 2.1},
)
FOREST = ForestPlot(
    "forest",
    "accuracy",
    [
        ForestRow("gated", Estimate(0.7, 0.65, 0.75), "fusion"),
        ForestRow("concat", Estimate(0.68, 0.63, 0.73), "fusion"),
        ForestRow("text-only", Estimate(0.6, 0.55, 0.65), "single"),
    ],
    {"majority": 0.5},
)
SCATTER = ScatterPlot(
    "cost",
    "seconds",
    "accuracy",
    [Point("gated", 10.0, 0.7, 0.65, 0.75, "a"), Point("concat", 1.0, 0.6, group="b")],
    log_x=True,
)
MATRIX = MatrixPlot("m", "true", "predicted", ["a", "b"], ["a", "b"], [[0.9, 0.1], [None, 0.8]])
OVERLAY = OverlayPlot("o", "7", [("so", 0.1), ("happy", 0.9)], [[0.1, 0.4], [0.2, 0.3]])
KINDS: list[Plot] = [LINES, FOREST, SCATTER, MATRIX, OVERLAY]

HARD: list[Plot] = [
    LinePlot("", "x", "y", []),
    LinePlot("", "x", "y", [Series("", [], [])]),
    LinePlot("one", "x", "y", [Series("s", [1.0], [0.5])], {"m": math.nan}, True, True),
    LinePlot("nan", "x", "y", [Series("s", [1.0, 2.0], [math.nan] * 2, [math.nan] * 2, [1, 2])]),
    LinePlot("huge", "x", "y", [Series("s", [1.0, 2.0], [-1e308, 1e308])]),
    ForestPlot("", "x", []),
    ForestPlot("nan", "x", [ForestRow("a", Estimate(math.nan, -math.inf, math.inf))], {"r": 0.0}),
    ForestPlot("many", "x", [ForestRow(f"r {i}", Estimate(i, i - 1, i + 1)) for i in range(200)]),
    ScatterPlot("", "x", "y", [], log_x=True),
    ScatterPlot("zero", "x", "y", [Point("a", 0.0, 1.0), Point("b", 2.0, 1.0)], log_x=True),
    ScatterPlot("same", "x", "y", [Point(f"p {i}", 1.0, 1.0) for i in range(200)]),
    MatrixPlot("", "r", "c", [], [], []),
    MatrixPlot("none", "r", "c", ["a"], ["b"], [[None]]),
    MatrixPlot("negative", "r", "c", ["a"], ["b", "c"], [[-1.0, math.inf]]),
    MatrixPlot("wide", "r", "c", ["a"] * 50, ["b" * 40] * 50, [[0.5] * 50] * 50),
    OverlayPlot("", "1"),
    OverlayPlot("nan", "1", [("word" * 60, math.nan), ("", 0.0)], [[math.nan]]),
]


def _numbers_are_finite(markup: str) -> bool:
    return not re.search(r"[\" ,(](nan|inf|-inf)[\" ,)]", re.sub(r">[^<]*<", "><", markup))


@pytest.mark.parametrize("plot", [*KINDS, *HARD], ids=lambda plot: f"{type(plot).__name__}")
def test_every_plot_is_an_accessible_small_svg(plot: Plot) -> None:
    markup = svg(plot)
    root = ET.fromstring(markup)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    names = dict(zip(root.get("aria-labelledby", "").split(), ("title", "desc"), strict=True))
    for label, tag in names.items():
        assert markup.count(f'<{tag} id="{label}"') == 1
    assert root.get("role") == "img"
    assert not re.search(r"<style|<metadata|font-family|clip-path|<!--|#[0-9a-f]{6}\b", markup)
    assert _numbers_are_finite(markup)
    assert len(markup) < 15_000 or len(getattr(plot, "rows", [])) > 30 or "same" in plot.title
    for reference in re.findall(r'href="#([^"]*)"', markup):
        assert reference in ids


@pytest.mark.parametrize("plot", [KINDS[0], KINDS[3]], ids=["lines", "matrix"])
def test_the_same_plot_gives_the_same_bytes_and_a_key_other_ids(plot: Plot) -> None:
    assert svg(plot) == svg(plot)
    first = {*re.findall(r'id="([^"]*)"', svg(plot))}
    assert first.isdisjoint(re.findall(r'id="([^"]*)"', svg(plot, key="2")))


def test_names_from_data_are_escaped_and_not_read_as_formulas() -> None:
    plots: list[Plot] = [
        LinePlot(EVIL, EVIL, EVIL, [Series(EVIL, [1.0, 2.0], [1.0, 2.0])], {EVIL: 1.5}),
        ForestPlot(EVIL, EVIL, [ForestRow(EVIL, Estimate(1.0, 0.5, 1.5), EVIL)], {EVIL: 1.0}),
        ScatterPlot(EVIL, EVIL, EVIL, [Point(EVIL, 1.0, 1.0, group=EVIL)]),
        MatrixPlot(EVIL, EVIL, EVIL, [EVIL], [EVIL], [[1.0]]),
        OverlayPlot(EVIL, EVIL, [(EVIL, 1.0)]),
    ]
    for plot in plots:
        markup = captioned(plot)
        texts = "".join(ET.fromstring(markup).itertext())
        assert "<script" not in markup
        assert "$a_b$ <script>&" in texts
        assert not {"\x1b", "\u202e", "\ufffe", "\ud800"} & {*markup}
        assert png(plot).startswith(b"\x89PNG")


def test_colours_are_variables_that_both_themes_define() -> None:
    used = {*re.findall(r"var\(--([a-z0-9-]+)\)", "".join(map(svg, KINDS)))}
    assert {"ink", "muted", "grid", "series-1", "series-2"} <= used <= {*LIGHT}
    assert LIGHT.keys() == DARK.keys() == SENTINELS.keys()
    for theme in (LIGHT, DARK):
        for name, value in theme.items():
            assert f"--{name}:{value}" in THEME_CSS


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(theme: dict[str, str]) -> None:
    for name, value in theme.items():
        least = {"ink": 7.0, "muted": 4.5}.get(name, 3.0 if name.startswith("series") else 0.0)
        assert _contrast(value, theme["paper"]) >= least, name


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * s for w, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_lines_are_drawn_where_their_values_are() -> None:
    plot = LinePlot("t", "x", "y", [Series("s", [0.0, 1.0], [0.0, 1.0])])
    root = ET.fromstring(svg(plot))
    paths = [e for e in root.iter() if e.tag.endswith("path") and "series-1" in e.get("style", "")]
    line = next(path for path in paths if "stroke-width:2" in path.get("style", ""))
    found = re.fullmatch(r"M([\d.]+) ([\d.]+)l([\d.]+)-([\d.]+)", line.get("d", ""))
    assert found is not None
    x, y, across, up = map(float, found.groups())
    # The axes are 454 x 230 pixels; 2 % room at both sides but none below zero, 5 % above one.
    assert across == pytest.approx(454 / 1.02, abs=0.2)
    assert up == pytest.approx(230 / 1.05, abs=0.2)
    assert (x, y) == pytest.approx((52, 240), abs=0.2)


def test_cells_of_a_matrix_have_their_numbers_and_opacity_by_value() -> None:
    markup = svg(MatrixPlot("m", "r", "c", ["a"], ["b", "c"], [[0.25, 0.5]], percent=True))
    assert ">25.0<" in markup
    assert ">50.0<" in markup
    assert sorted(map(float, re.findall(r"opacity:([\d.]+)", markup))) == [0.3, 0.6]


def test_a_picture_lies_below_its_patches_and_must_be_a_data_uri() -> None:
    picture = "data:image/png;base64,AAAA"
    markup = svg(OVERLAY, picture=picture)
    assert markup.index("<image ") < markup.index("<path ")
    assert f'href="{picture}"' in markup
    with pytest.raises(ValueError, match="data URI"):
        svg(OVERLAY, picture="https://example.org/1.png")


def test_png_files_can_be_read() -> None:
    for plot in KINDS:
        with Image.open(io.BytesIO(png(plot))) as picture:
            assert picture.width > 1000
            assert not picture.info.get("Software")


def test_a_png_shows_the_picture_below_the_patches() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (0, 200, 0)).save(file, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    green = {}
    for below in ("", uri):
        with Image.open(io.BytesIO(png(OVERLAY, picture=below))) as drawn:
            colours = np.asarray(drawn.convert("RGB")).astype(int)
        green[below] = np.mean(colours[..., 1] > colours[..., [0, 2]].max(axis=-1) + 20)
    assert green[""] == 0
    assert green[uri] > 0.1


def test_descriptions_say_the_main_numbers() -> None:
    assert "gated 0.700 [0.650, 0.750]" in description(FOREST)
    assert "Reference lines: majority 0.500" in description(FOREST)
    assert "highest 0.700 at 2" in description(LINES)
    assert "a, b 0.100" in description(MATRIX)
    assert "Heaviest words: happy 0.900" in description(OVERLAY)
    assert "Heaviest patch: row 1, column 2, 0.400" in description(OVERLAY)
    assert "and 188 more" in description(HARD[7])


def test_numbers_and_names_are_short() -> None:
    assert [number(v) for v in (0.71234, 3.0, 1234.5, 12_345_678.0, 1e-5, math.nan, None)] == [
        "0.712",
        "3",
        "1234",
        "12.3M",
        "1e-05",
        "–",
        "–",
    ]
    assert shown("cross-transformer, 3 × positive", 20) == "cross-transfo…sitive"
    assert width(shown("日本語" * 20, 21)) <= 21


def test_names_of_points_cover_neither_points_nor_each_other() -> None:
    dots = [(100.0 + 7 * i, 100.0 + 3 * (i % 5)) for i in range(12)]
    inside = Box(0, 0, 500, 300)
    spots = place_labels(dots, [(60.0, 12.0)] * 12, inside)
    boxes = []
    for spot in spots:
        if spot is not None:
            left = spot.anchor[0] - {"left": 0, "center": 30, "right": 60}[spot.side]
            boxes.append(Box(left, spot.anchor[1] - 6, left + 60, spot.anchor[1] + 6))
    assert len(boxes) >= 4
    assert all(inside.contains(box) for box in boxes)
    assert not any(a.meets(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not any(box.meets(Box(x, y, x, y)) for box in boxes for x, y in dots)


def test_epochs_have_whole_ticks_and_intervals_the_same_decimals():
    epochs = [float(i) for i in range(13)]
    markup = svg(
        LinePlot("t", "epoch", "loss", [Series("a", epochs, [1 / (1 + e) for e in epochs])])
    )
    assert ">2.5<" not in markup
    assert {">0<", ">3<", ">12<"} <= {*re.findall(r">\d+<", markup)}
    wide, narrow = Estimate(0.61, 0.55, 0.67), Estimate(0.732, 0.699, 0.768)
    texts = with_intervals([wide, narrow, narrow, Estimate(0.5, math.nan, 1.0)])
    assert texts == ["0.610 [0.550, 0.670]", "0.732 [0.699, 0.768]", texts[1], "0.500"]


_EXTREMES = st.sampled_from(
    [0.0, -1.0, 1e-300, -1e308, 1e308, 5e-324, math.nan, math.inf, -math.inf]
)
_NUMBERS = st.one_of(_EXTREMES, st.floats(-2, 2))
_TEXTS = st.text(max_size=8)
_ESTIMATES = st.builds(Estimate, _NUMBERS, _NUMBERS, _NUMBERS)
_MARKS = st.dictionaries(_TEXTS, _NUMBERS, max_size=2)


@st.composite
def _any_plot(draw: st.DrawFn) -> Plot:
    def some(*kinds: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(st.tuples(*kinds), max_size=4))

    kind = draw(st.sampled_from(["lines", "forest", "scatter", "matrix", "overlay"]))
    title = draw(_TEXTS)
    if kind == "lines":
        pairs = some(_NUMBERS, _NUMBERS)
        series = Series(title, [x for x, _ in pairs], [y for _, y in pairs])
        return LinePlot(title, title, title, [series], draw(_MARKS), draw(st.booleans()))
    if kind == "forest":
        rows = [ForestRow(*row) for row in some(_TEXTS, _ESTIMATES, _TEXTS)]
        return ForestPlot(title, title, rows, draw(_MARKS))
    if kind == "scatter":
        points = [Point(*point) for point in some(_TEXTS, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS)]
        return ScatterPlot(title, title, title, points, draw(st.booleans()))
    if kind == "matrix":
        cells = some(_NUMBERS, st.none() | _NUMBERS)
        return MatrixPlot(
            title, title, title, [title] * len(cells), ["a", "b"], [*map(list, cells)]
        )
    return OverlayPlot(title, title, some(_TEXTS, _NUMBERS), [*map(list, some(_NUMBERS))])


@settings(max_examples=60, deadline=None)
@given(_any_plot())
def test_any_numbers_and_names_are_drawn(plot: Plot) -> None:
    markup = svg(plot)
    ET.fromstring(markup)
    assert _numbers_are_finite(markup)
