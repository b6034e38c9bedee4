"""Colours of plots and pages, in a light and a dark theme.

The series follow Okabe and Ito's palette for colour-blind readers; lightness was changed until
every colour has a contrast of at least 3:1 on the paper of its theme.

Source:
    Okabe and Ito 2008, Color Universal Design; WCAG 2.2, criterion 1.4.11 (3:1 for graphics) and
    1.4.3 (4.5:1 for text).
"""

from collections.abc import Mapping
from dataclasses import dataclass

LIGHT = {
    "ink": "#1b1f24",
    "muted": "#59636e",
    "grid": "#d8dee4",
    "paper": "#ffffff",
    "series-1": "#0072b2",
    "series-2": "#d55e00",
    "series-3": "#00835f",
    "series-4": "#b0508a",
    "series-5": "#a87400",
    "series-6": "#3b93c9",
    "series-7": "#7d7a00",
    "series-8": "#5b6470",
}
DARK = {
    "ink": "#e8ebef",
    "muted": "#a3adb8",
    "grid": "#363d46",
    "paper": "#14171c",
    "series-1": "#5aa9e6",
    "series-2": "#ff8a4c",
    "series-3": "#2cc79a",
    "series-4": "#e39ac6",
    "series-5": "#f0b429",
    "series-6": "#9bdcff",
    "series-7": "#d9d25a",
    "series-8": "#a7b0ba",
}
# Colours that stand for a variable while matplotlib draws; no theme has them.
SENTINELS = {name: f"#fe01{place:02x}" for place, name in enumerate(LIGHT, start=1)}


@dataclass(frozen=True)
class Colours:
    """Colours to draw with.

    Attributes:
        of: Colours by name.
    """

    of: Mapping[str, str]

    @property
    def ink(self) -> str:
        """Colour of text."""
        return self.of["ink"]

    @property
    def muted(self) -> str:
        """Colour of marks and remarks."""
        return self.of["muted"]

    @property
    def grid(self) -> str:
        """Colour of grid lines."""
        return self.of["grid"]

    @property
    def paper(self) -> str:
        """Colour of the background."""
        return self.of["paper"]

    def series(self, place: int) -> str:
        """Colour of a series; the eight colours repeat."""
        return self.of[f"series-{place % 8 + 1}"]


def theme_css(scope: str = ":root") -> str:
    """Style rules that define the colours as variables, and how plots are placed.

    The reader's system chooses the theme; ``data-theme="light"`` or ``"dark"`` at the scope's
    element overrides it. Paper is always light.

    Args:
        scope: The CSS selector of the element that contains the plots.
    """
    light, dark = _rules(LIGHT), _rules(DARK)
    return (
        f"{scope}{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{{scope}{{{dark}}}}}\n"
        f'{scope}[data-theme="light"]{{color-scheme:light;{light}}}\n'
        f'{scope}[data-theme="dark"]{{color-scheme:dark;{dark}}}\n'
        f'@media print{{{scope},{scope}[data-theme="dark"]'
        f"{{color-scheme:light;{light};print-color-adjust:exact}}}}\n"
        f"{scope} figure.plot{{margin:1rem 0;overflow-x:auto}}\n"
        f"{scope} figure.plot figcaption{{font-weight:600;margin-bottom:.3rem}}\n"
        f"{scope} figure.plot svg{{display:block;min-width:22rem}}\n"
        f"@media print{{{scope} figure.plot{{break-inside:avoid}}}}\n"
    )


def _rules(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


THEME_CSS = theme_css()
