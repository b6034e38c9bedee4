"""A row of a table of backbones: what is known of a family without importing torch."""

from dataclasses import dataclass
from enum import StrEnum

from mvsa_pipe.registry import Row


class Pooling(StrEnum):
    """How the hidden states of a text, or of a picture by two-tower models, become one vector.

    ``projected`` is a two-tower model's vector in the space that text and image share, ``pooler``
    the one before the projection. ``last`` is the last token of a text.
    """

    CLS = "cls"
    MEAN = "mean"
    POOLER = "pooler"
    LAST = "last"
    PROJECTED = "projected"


@dataclass(frozen=True)
class PublishedModel:
    """Published weights of a family, as its model card states them.

    Attributes:
        source: Where they are fetched from: a Hugging Face id, or torchvision's name.
        width: ``D`` of hidden states.
        tokens: Most tokens of a text, or tokens of a picture, as they are stored.
        parameters_millions: Parameters of the part that is used.
        licence: Licence of the weights; "see model card" where it is not a plain one.
        gated: Whether its terms must be accepted before the first download.
        name: The backbone's name; empty for the family's own.
    """

    source: str
    width: int
    tokens: int
    parameters_millions: float
    licence: str
    gated: bool = False
    name: str = ""


@dataclass(frozen=True)
class Family(Row):
    """A row of a table of backbones, with the traits that options need before torch is imported.

    Attributes:
        argument: What the part of a name after the colon means, if it is required.
        from_folder: Whether that part can be a folder on this machine.
        self_located: Whether that part locates the weights, or there are none to choose.
        layered: Whether hidden states of several layers have one shape.
        poolings: The poolings that ``--pooling`` can choose from.
        prompted: Whether ``--prompt`` applies: models of any training, some of which need one.
        extra: The optional dependency of this package that it needs.
        models: Its published weights, the default first.
    """

    argument: str = ""
    from_folder: bool = False
    self_located: bool = False
    layered: bool = True
    poolings: tuple[Pooling, ...] = ()
    prompted: bool = False
    extra: str = ""
    models: tuple[PublishedModel, ...] = ()
