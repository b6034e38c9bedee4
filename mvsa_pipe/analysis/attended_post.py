"""What heads attend to in one post: its words and the patches of its picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mvsa_pipe.analysis.attention_measures import maps_of_post
from mvsa_pipe.analysis.finding import Cell, FindingTable, OverlayPlot
from mvsa_pipe.analysis.finding_store import analysed_run
from mvsa_pipe.analysis.rescoring import RescoredRun
from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.base import TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.features.options import token_square
from mvsa_pipe.heads.attention_maps import AttentionMap, Kind
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.runs.backbones import options_of, records_of

# Tokens that stand for no word, such as those that open and close a text.
SPECIAL = "[special tokens]"
_WORD = re.compile(r"\S+")
_MOST_NAMED = 4


@dataclass(frozen=True)
class AttendedPost:
    """One post as the heads see it.

    Attributes:
        plots: One overlay a head and layer with tokens among its keys.
        table: The heaviest words and patches of each.
        remarks: What could not be shown, and why.
    """

    plots: list[OverlayPlot]
    table: FindingTable
    remarks: list[str]


def require_scored(post_id: str, known: Sequence[str]) -> None:
    """Refuses early a post whose features are not read.

    Raises:
        RunError: It is not among the scored posts.
    """
    if post_id not in known:
        raise RunError(
            "This post is not among the compared posts",
            where=post_id,
            expected="a test post of the runs",
            found=name_some(known, most=5),
            hint="--post ID; split.csv of a run lists its posts",
        )


def attended_post(runs: Sequence[tuple[str, RescoredRun]], post_id: str) -> AttendedPost:
    """Maps of one post for some runs; weights are means over attention heads and queries.

    Args:
        runs: The runs with their names.
        post_id: One of the scored posts.

    Raises:
        RunError: Its text cannot be read again.
    """
    plots, rows = [], list[list[Cell]]()
    remarks: dict[str, None] = {}
    for name, run in runs:
        text = _text(run, post_id)
        spans, digest = _spans(run, text), analysed_run(run.run).digest
        for found in maps_of_post(run, post_id):
            if not {Kind.TEXT, Kind.IMAGE} & found.keys.keys():
                continue
            words = words_of_map(found, text, spans)
            patches = patches_of(found)
            title = f"{name}, {found.layer.name}, post {post_id}"
            plots.append(OverlayPlot(title, post_id, words, patches, digest))
            rows.append([name, found.layer.name, _heaviest(words), _heaviest_patch(patches)])
            if Kind.TEXT in found.keys and spans is None:
                remarks[
                    f"{name}: its text backbones do not tell where tokens stand; they are numbered."
                ] = None
    table = FindingTable(
        f"post {post_id} by weight",
        ["head", "layer", "words", "patch"],
        rows,
        "weights are means over attention heads and queries; a word has the sum of its tokens",
    )
    return AttendedPost(plots, table, list(remarks))


def _text(run: RescoredRun, post_id: str) -> str:
    data = run.run.config["data"]
    if data["path"] is None:
        raise RunError(
            "This run's posts were built in memory, so that its texts cannot be read again",
            where=run.run.path,
            hint="leave --post out",
        )
    return _texts(Path(data["path"]), run.run.read_options).get(post_id, "")


@lru_cache(1)
def _texts(path: Path, read: ReadOptions) -> dict[str, str]:
    return {post.id: post.text or "" for post in read_posts(path, read).posts}


def _spans(run: RescoredRun, text: str) -> list[tuple[int, int]] | None:
    records = records_of(run.run, Modality.TEXT)
    if len(records) != 1:
        return None
    return token_spans([_backbone(options_of(run.run, Modality.TEXT, records[0]))], text)


def token_spans(backbones: Sequence[object], text: str) -> list[tuple[int, int]] | None:
    """Start and end in a text of each token of a head's text backbones.

    ``None`` if the backbone does not know, or if there are several: tokens of joined backbones
    stand one set after the other.
    """
    if len(backbones) != 1 or not isinstance(backbones[0], TextBackbone):
        return None
    return backbones[0].spans(text)


@lru_cache(1)
def _backbone(options: BackboneOptions) -> object:
    return load_backbone(options)


def words_of(
    text: str, spans: Sequence[tuple[int, int]], weights: Sequence[float]
) -> list[tuple[str, float]]:
    """The words of a text with the summed weights of their tokens; special tokens last.

    Args:
        text: The text.
        spans: Start and end of each token in it; equal for tokens that stand for no word.
        weights: One a token.
    """
    words = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]
    totals, special = [0.0] * len(words), 0.0
    for (start, end), weight in zip(spans, weights, strict=True):
        own = [n for n, (_, first, last) in enumerate(words) if start < last and first < end]
        if not own:
            special += weight
        for number in own:
            totals[number] += weight / len(own)
    named = [(word, total) for (word, _, _), total in zip(words, totals, strict=True)]
    return [*named, (SPECIAL, special)] if special else named


def words_of_map(
    found: AttentionMap, text: str, spans: Sequence[tuple[int, int]] | None
) -> list[tuple[str, float]]:
    """The words of one post with their weights; tokens are numbered where spans are not known.

    Args:
        found: The map of this post alone.
        text: Its text.
        spans: From ``token_spans``.
    """
    if Kind.TEXT not in found.keys:
        return []
    weights = found.of_keys()[0, found.keys[Kind.TEXT]].tolist()
    if spans is None or len(spans) != len(weights):
        return [(f"token {number}", weight) for number, weight in enumerate(weights, 1)]
    return words_of(text, spans, weights)


def patches_of(found: AttentionMap) -> list[list[float]]:
    """Weights of the places of the picture, rows from the top; empty if they form no square."""
    if Kind.IMAGE not in found.keys:
        return []
    weights = found.of_keys()[0, found.keys[Kind.IMAGE]].tolist()
    side, extra = token_square(len(weights))
    return [weights[extra + row * side : extra + (row + 1) * side] for row in range(side)]


def _heaviest(words: Sequence[tuple[str, float]]) -> str:
    ordered = sorted(words, key=lambda pair: -pair[1])[:_MOST_NAMED]
    return ", ".join(f"{word} {weight:.2f}" for word, weight in ordered)


def _heaviest_patch(patches: Sequence[Sequence[float]]) -> str:
    every = [
        (w, row, column) for row, own in enumerate(patches, 1) for column, w in enumerate(own, 1)
    ]
    if not every:
        return ""
    weight, row, column = max(every)
    return f"row {row} of {len(patches)}, column {column}: {weight:.2f}"
