"""What models answer to one text and one picture: probabilities with both and with either alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from mvsa_pipe.analysis.attended_post import patches_of, token_spans, words_of_map
from mvsa_pipe.analysis.attention_measures import layers_of
from mvsa_pipe.analysis.changed_features import Inputs
from mvsa_pipe.analysis.finding import OverlayPlot
from mvsa_pipe.analysis.seen_picture import seen_picture
from mvsa_pipe.errors import ConfigError, DataError, MvsaError
from mvsa_pipe.extraction.in_memory import encode
from mvsa_pipe.features.absent import with_absent
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.heads.attention_maps import Kind, attention_maps
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.in_memory import posts_in_memory
from mvsa_pipe.runs.inference import readable_contents
from mvsa_pipe.training.scoring import predict_probabilities
from mvsa_pipe.try_page.models import AbsentAs, TriedModel

_WORDS = {Modality.TEXT: "text", Modality.IMAGE: "picture"}


@dataclass(frozen=True)
class Shares:
    """The probabilities of one reading of a post.

    Attributes:
        given: What was read of it.
        probabilities: One a class.
    """

    given: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Answer:
    """What one model says of a post.

    Attributes:
        name: The model.
        classes: Names of the classes, in the order of the probabilities.
        readings: With all that it reads, then with either half left out.
        attention: Where it attends, one plot a layer over tokens.
        picture: The picture as its image backbone sees it, as a data URI; empty if not known.
        remarks: What a reader must know of the figures.
        fault: Why there is no answer, in one paragraph; empty if there is one.
    """

    name: str
    classes: tuple[str, ...] = ()
    readings: tuple[Shares, ...] = ()
    attention: tuple[OverlayPlot, ...] = ()
    picture: str = ""
    remarks: tuple[str, ...] = field(default=())
    fault: str = ""


def answers(models: Sequence[TriedModel], text: str | None, picture: bytes | None) -> list[Answer]:
    """The answer of every model; of those that cannot answer, the reason."""
    found = []
    for model in models:
        try:
            found.append(answer(model, text, picture))
        except MvsaError as error:
            found.append(Answer(model.name, fault=error.paragraph()))
    return found


def answer(model: TriedModel, text: str | None, picture: bytes | None) -> Answer:
    """The answer of one model.

    Args:
        model: The model.
        text: The text; ``None`` for none.
        picture: The bytes of the picture's file; ``None`` for none.

    Raises:
        ConfigError: What the model reads was not given.
        DataError: The text or the picture cannot be read.
    """
    every = tuple(model.backbones)
    values = {Modality.TEXT: text, Modality.IMAGE: picture}
    given = tuple(modality for modality in every if values[modality] is not None)
    _require_enough(model, given)
    inputs = _inputs(model, text, picture, given)
    readings = [Shares(_told(given), _shares(model, *_read(model, inputs, given, given)))]
    if len(given) > 1:
        readings += [
            Shares(f"{_told(one)} alone", _shares(model, *_read(model, inputs, given, one)))
            for one in ((Modality.TEXT,), (Modality.IMAGE,))
        ]
    remarks = [f"It does not read the {_WORDS[m]}." for m in Modality if m not in every]
    if len(every) > 1:
        remarks.append(f"In place of what is left out it reads {model.absent_as}.")
    if model.remark:
        remarks.append(f"Why: {model.remark}")
    plots = _attention(model, _read(model, inputs, given, given)[0], text or "")
    seen = ""
    if picture is not None and plots:
        backbones = [forward.backbone for forward in model.backbones.get(Modality.IMAGE, ())]
        seen = seen_picture(backbones, picture)
    return Answer(model.name, model.classes, tuple(readings), tuple(plots), seen, tuple(remarks))


def _told(given: Sequence[Modality]) -> str:
    return " and ".join(_WORDS[modality] for modality in given)


def _require_enough(model: TriedModel, given: Sequence[Modality]) -> None:
    """Requires what ``mvsa predict`` requires.

    Raises:
        ConfigError: A half that the model reads was not given.
    """
    every = tuple(model.backbones)
    if given == every or (given and model.absent_as is AbsentAs.TRAINED):
        return
    raise ConfigError(
        f"This model reads the {' and the '.join(_WORDS[m] for m in every)} of a post",
        expected=_told(every),
        found=_told(given) or "neither text nor picture",
        hint="give what is missing"
        + ("" if len(every) == 1 else "; mvsa fit --modality-dropout 0.2 trains a head for either"),
    )


def _inputs(
    model: TriedModel, text: str | None, picture: bytes | None, given: Sequence[Modality]
) -> Inputs:
    """The features of what was given, by the model's backbones.

    Raises:
        DataError: It cannot be read.
    """
    texts = None if text is None else [text]
    posts = posts_in_memory(texts, None if picture is None else [picture])
    contents, faults = readable_contents(posts, given)
    sources: dict[Modality, tuple[FeatureSource, ...]] = {}
    for modality in given if not faults else ():
        needs = [need for need in model.head.needs if need.modality is modality]
        some = {modality: contents[modality]}
        there = {modality: model.backbones[modality]}
        encoded = encode(some, there, needs, len(model.classes), model.options)
        faults |= encoded.faults
        features = encoded.features
        sources[modality] = (
            features.sources[modality] if isinstance(features, JoinedFeatures) else (features,)
        )
    if faults:
        raise DataError("This post cannot be read", found="; ".join(faults.values()))
    own = tuple(post.text or "" for post in posts.posts) if model.head.reads_texts else None
    return Inputs(JoinedFeatures(sources), own)


def _read(
    model: TriedModel, inputs: Inputs, given: Sequence[Modality], kept: Sequence[Modality]
) -> tuple[FeatureSource, Sequence[str] | None]:
    """The features, and the text of the post, of which only some halves are kept."""
    if model.constants is not None:
        for modality in given:
            if modality not in kept:
                inputs = inputs.replaced(modality, model.constants(modality))
        return inputs.features, inputs.texts
    some = JoinedFeatures({modality: inputs.features.sources[modality] for modality in kept})
    features = with_absent(some, model.head.needs, model.head.sizes, kept)
    lacks = inputs.texts is not None and Modality.TEXT not in kept
    return features, ("",) if lacks else inputs.texts


def _shares(
    model: TriedModel, features: FeatureSource, texts: Sequence[str] | None
) -> tuple[float, ...]:
    device = model.head.device
    first = torch.zeros(1, dtype=torch.int64, device=device)
    found = predict_probabilities(model.head, features.to(device), first, texts)
    return tuple(float(share) for share in found[0])


def _attention(model: TriedModel, features: FeatureSource, text: str) -> list[OverlayPlot]:
    """Words and patches that each layer of a head attends to; none without attention to tokens."""
    head, layers = model.head, layers_of(model.head)
    if not layers or not isinstance(head, FusionHead):
        return []
    device = head.device
    first = torch.zeros(1, dtype=torch.int64, device=device)
    (batch,) = features.to(device).batches([first], head.needs)
    with torch.inference_mode():
        maps = attention_maps(head.eval(), layers, batch)
    forwards = model.backbones.get(Modality.TEXT, ())
    spans = token_spans([forward.backbone for forward in forwards], text)
    return [
        OverlayPlot(one.layer.name, "1", words_of_map(one, text, spans), patches_of(one))
        for one in maps
        if {Kind.TEXT, Kind.IMAGE} & one.keys.keys()
    ]
