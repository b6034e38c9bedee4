"""The table of damages; reading it imports neither Pillow nor NumPy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import Range
from mvsa_pipe.registry import Registry, Row

_IMAGENET_C = "Hendrycks and Dietterich 2019, arXiv:1903.12261"
_SHARE = Range(above=0, most=1)
_PROPER_SHARE = Range(above=0, below=1)


@dataclass(frozen=True)
class DamageRow(Row):
    """One way to damage a text or a picture.

    Attributes:
        modality: What it damages.
        strength: What its strength measures.
        strengths: The default strengths, from the weakest damage to the strongest.
        allowed: The strengths that have a meaning.
        falling: Whether smaller strengths damage more.
    """

    modality: Modality = Modality.TEXT
    strength: str = ""
    strengths: tuple[float, ...] = ()
    allowed: Range = _SHARE
    falling: bool = False


@dataclass(frozen=True)
class Damage:
    """A damage at one strength.

    Attributes:
        row: Its row in the table.
        strength: Its strength.
    """

    row: DamageRow
    strength: float

    def __str__(self) -> str:
        return f"{self.row.name}-{self.strength:g}"

    @property
    def modality(self) -> Modality:
        """What it damages."""
        return self.row.modality


def _text(name: str, summary: str, source: str, **more: Any) -> DamageRow:  # noqa: ANN401
    target = f"mvsa_pipe.posts.damage.texts:{name}"
    return DamageRow(name, target, summary, source, Modality.TEXT, **more)


def _picture(name: str, summary: str, source: str, **more: Any) -> DamageRow:  # noqa: ANN401
    target = f"mvsa_pipe.posts.damage.pictures:{name}"
    return DamageRow(name, target, summary, source, Modality.IMAGE, **more)


_DAMAGES = [
    _text(
        "cut",
        "Words after the first ones are cut off.",
        "",
        strength="share of words kept",
        strengths=(0.75, 0.5, 0.25),
        allowed=_PROPER_SHARE,
        falling=True,
    ),
    _text(
        "typos",
        "Letters are swapped, lost, doubled or replaced.",
        "Belinkov and Bisk 2018, arXiv:1711.02173",
        strength="share of letters",
        strengths=(0.05, 0.1, 0.2),
    ),
    _text(
        "drop",
        "Words are left out at random.",
        "Wei and Zou 2019, arXiv:1901.11196",
        strength="share of words",
        strengths=(0.1, 0.3, 0.5),
    ),
    _picture(
        "resolution",
        "Pictures are reduced.",
        "",
        strength="pixels of the shorter side",
        strengths=(112, 56, 28),
        allowed=Range(least=1, most=10_000),
        falling=True,
    ),
    _picture(
        "jpeg",
        "Pictures are stored as JPEG again.",
        _IMAGENET_C,
        strength="JPEG quality",
        strengths=(25, 15, 7),
        allowed=Range(least=1, most=95),
        falling=True,
    ),
    _picture(
        "blur",
        "Pictures are blurred by a Gaussian.",
        _IMAGENET_C,
        strength="standard deviation in 1/224 of the shorter side",
        strengths=(1, 3, 6),
        allowed=Range(above=0, most=100),
    ),
    _picture(
        "noise",
        "Gaussian noise is added to each colour.",
        _IMAGENET_C,
        strength="standard deviation, with colours from 0 to 1",
        strengths=(0.08, 0.18, 0.38),
        allowed=Range(above=0, most=10),
    ),
    _picture(
        "grey",
        "Colour is taken away.",
        "",
        strength="share of colour removed",
        strengths=(0.5, 1),
    ),
    _picture(
        "crop",
        "A part at a random place is kept.",
        "",
        strength="share of each side kept",
        strengths=(0.75, 0.5, 0.25),
        allowed=_PROPER_SHARE,
        falling=True,
    ),
]
DAMAGES: Registry[Any] = Registry("damage", _DAMAGES)
DAMAGE_ROWS = {row.name: row for row in _DAMAGES}


def damages_of(row: DamageRow, strengths: Iterable[float] = ()) -> tuple[Damage, ...]:
    """A damage at some strengths, by default its own, from the weakest to the strongest.

    Raises:
        ConfigError: A strength has no meaning.
    """
    chosen = dict.fromkeys(strengths) or dict.fromkeys(row.strengths)
    for strength in chosen:
        if strength not in row.allowed:
            raise ConfigError(
                f"Damage {row.name!r} has no strength {strength:g}",
                expected=f"{row.strength}: a number, {row.allowed}",
            )
    return tuple(Damage(row, strength) for strength in sorted(chosen, reverse=row.falling))
