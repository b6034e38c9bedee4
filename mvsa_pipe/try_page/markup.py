"""Answers as HTML: tables of probabilities side by side, and where heads attend.

Words and patches are HTML, not plots of the report: they wrap on a phone, and take no time to draw.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

from mvsa_pipe.analysis.finding import OverlayPlot
from mvsa_pipe.printable import one_line, printable
from mvsa_pipe.reports.palette import theme_css
from mvsa_pipe.reports.plot_text import description
from mvsa_pipe.try_page.answer import Answer, Shares

_SCOPE = ".mvsa-answers"
# Twice the class: Gradio's style of tables and headings is as specific as once.
_RULES = """
{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
 section{background:var(--paper);border:1px solid var(--grid);border-radius:.5rem;padding:.9rem;
min-width:0;color:var(--ink)}
 h2{font-size:1.1rem;font-weight:600;margin:0 0 .5rem;overflow-wrap:anywhere;color:var(--ink)}
 h3{font-size:.95rem;font-weight:600;margin:1rem 0 .4rem;color:var(--ink)}
 .scroll{overflow-x:auto}
 table{border-collapse:collapse;width:100%;margin:0;font-variant-numeric:tabular-nums}
 caption{text-align:left;color:var(--muted);font-size:.85rem;padding-bottom:.2rem}
 :is(th,td){padding:.3rem .35rem;border:0;border-bottom:1px solid var(--grid);text-align:right;
font-weight:400;color:var(--ink)}
 th:first-child{text-align:left;padding-left:0}
 td.most{font-weight:700}
 td i{display:block;height:.35rem;margin-top:.2rem;border-radius:.2rem;background:
linear-gradient(var(--series-1),var(--series-1)) left/var(--share) 100% no-repeat,var(--grid)}
 p{color:var(--muted);font-size:.85rem;margin:.5rem 0 0;overflow-wrap:anywhere}
 p.fault{color:var(--ink);font-size:1rem}
 .words{display:flex;flex-wrap:wrap;gap:.2rem;line-height:1.5}
 .words span{padding:0 .25rem;border-radius:.2rem;overflow-wrap:anywhere;
background:color-mix(in srgb,var(--series-1) var(--weight),transparent)}
 .patches{display:grid;grid-template-columns:repeat(var(--columns),1fr);width:min(100%,16rem);
aspect-ratio:1;margin-top:.5rem;border:1px solid var(--grid);
background:var(--picture,none) 0/100% 100%}
 .patches i{outline:1px solid color-mix(in srgb,var(--grid) 40%,transparent);outline-offset:-1px;
background:color-mix(in srgb,var(--series-2) var(--weight),transparent)}
"""
_CSS = theme_css(_SCOPE) + "".join(
    f"{_SCOPE * 2}{line}" if line.startswith(("{", " ")) else line
    for line in _RULES.strip("\n").splitlines(keepends=True)
)
# The heaviest word or patch leaves what is below it legible.
_HEAVIEST = 70


def answers_html(answers: Sequence[Answer]) -> str:
    """The answers of models side by side, with their style; all text is escaped."""
    sections = "".join(map(_section, answers))
    return f'<style>{_CSS}</style><div class="mvsa-answers">{sections}</div>'


def _section(answer: Answer) -> str:
    picture = f' style="--picture:url({escape(answer.picture)})"' if answer.picture else ""
    if answer.fault:
        inner = f'<p class="fault" role="alert">{escape(printable(answer.fault))}</p>'
    else:
        remarks = (f"<p>{escape(printable(remark))}</p>" for remark in answer.remarks)
        inner = "".join([_table(answer), *remarks, *map(_attended, answer.attention)])
    return f"<section{picture}><h2><bdi>{_text(answer.name)}</bdi></h2>{inner}</section>"


def _table(answer: Answer) -> str:
    heads = "".join(f'<th scope="col"><bdi>{_text(name)}</bdi></th>' for name in answer.classes)
    rows = "".join(
        f'<tr><th scope="row">{_text(reading.given)}</th>{_cells(reading)}</tr>'
        for reading in answer.readings
    )
    return (
        '<div class="scroll" tabindex="0"><table><caption>Probability of each class, %</caption>'
        f'<thead><tr><th scope="col">read</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )


def _cells(reading: Shares) -> str:
    most = max(reading.probabilities)
    return "".join(
        f"<td{' class=most' if share == most else ''}>{100 * share:.1f}"
        f'<i style="--share:{100 * share:.1f}%"></i></td>'
        for share in reading.probabilities
    )


def _attended(plot: OverlayPlot) -> str:
    """The words and the patches of one layer, shaded by their weights."""
    parts = [f"<h3>Attention, {_text(plot.title)}</h3>"]
    if plot.words:
        weights = _shades(weight for _, weight in plot.words)
        words = "".join(
            f'<span style="--weight:{shade}%" title="{weight:.3f}"><bdi>{_text(word)}</bdi></span>'
            for (word, weight), shade in zip(plot.words, weights, strict=True)
        )
        parts.append(f'<div class="words">{words}</div>')
    if plot.patches:
        every = [weight for row in plot.patches for weight in row]
        cells = "".join(
            f'<i style="--weight:{shade}%" title="{weight:.3f}"></i>'
            for weight, shade in zip(every, _shades(every), strict=True)
        )
        parts.append(
            f'<div class="patches" role="img" style="--columns:{len(plot.patches[0])}" '
            f'aria-label="{escape(description(plot))}">{cells}</div>'
        )
    return "".join(parts)


def _shades(weights: Iterable[float]) -> list[int]:
    """Opacities in percent, in proportion to the weights."""
    known = [weight if math.isfinite(weight) else 0.0 for weight in weights]
    most = max(known, default=0.0)
    return [round(_HEAVIEST * weight / most) if most > 0 else 0 for weight in known]


def _text(value: str) -> str:
    return escape(one_line(value))
