"""Texts against sentence-transformers' ``encode`` over the same weights, float32 on both sides."""

import tempfile
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import material
import numpy as np
import torch
from rounds import Contest, Sides, Variant

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import Precision
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.in_memory import encode
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import Content, contents_of
from mvsa_pipe.progress import NoProgress

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

REQUIRES = ("sentence_transformers",)
POSTS = 2000
TOLERANCE = 1e-5
# The default of its encode, and its neighbours: the fastest is measured.
BATCHES = (16, 32, 64)
EXTRACTED = ExtractOptions(precision="float32", dtype=StoredDtype.FLOAT32, device="cpu")

Vectors = np.ndarray
States = tuple[np.ndarray, np.ndarray]  # tokens end to end, and tokens of each post


def measure(posts: int, rounds: int, sides: Sides, scratch: Path) -> dict[str, Any]:
    """Sentence vectors and token states in memory, both written, and written against vectors."""

    def variants(work: object, output: object = None) -> list[Variant]:
        return [
            Variant(
                partial(work, posts, scratch, size),
                output and partial(output, posts, scratch, size),
                f"batches of {size}",
            )
            for size in BATCHES
        ]

    peer = "sentence-transformers"
    written = Variant(
        partial(write_ours, posts, scratch), partial(written_states_of_ours, posts, scratch)
    )
    contests = {
        "sentence vectors": Contest(
            Variant(partial(vectors_of_ours, posts, scratch)),
            {peer: variants(vectors_of_peer)},
            _apart,
            TOLERANCE,
        ),
        "token states": Contest(
            Variant(partial(states_of_ours, posts, scratch)),
            {peer: variants(states_of_peer, joined_states_of_peer)},
            _states_apart,
            TOLERANCE,
        ),
        "both written, from loading": Contest(
            written,
            {f"{peer}, one HDF5 group a post": variants(write_peer, written_states_of_peer)},
            _states_apart,
            TOLERANCE,
        ),
        "both written over sentence vectors alone in memory, from loading": Contest(
            Variant(written.work, partial(written_vectors_of_ours, posts, scratch)),
            {peer: variants(loaded_vectors_of_peer)},
            _apart,
            TOLERANCE,
        ),
    }
    return {name: sides.compared(contest, rounds) for name, contest in contests.items()}


def vectors_of_ours(posts: int, scratch: Path) -> Vectors:
    """Sentence vectors in memory, in the order of the posts."""
    features = _encoded(posts, scratch, Field.TEXT_POOLED)
    assert features.text_pooled is not None
    return features.text_pooled.numpy()


def states_of_ours(posts: int, scratch: Path) -> States:
    """Token states in memory, in the order of the posts."""
    features = _encoded(posts, scratch, Field.TEXT_HIDDEN)
    text = features.text_hidden
    assert text is not None
    lengths = text.lengths
    places = torch.repeat_interleave(text.offsets - (lengths.cumsum(0) - lengths), lengths)
    return text.states[places + torch.arange(len(places))].numpy(), lengths.numpy()


def _encoded(posts: int, scratch: Path, need: Field) -> ResidentFeatures:
    keep = Keep.POOLED if need is Field.TEXT_POOLED else Keep.ALL
    forwards = {Modality.TEXT: [_forward(keep)]}
    contents = {Modality.TEXT: _contents(posts, scratch)}
    features = encode(contents, forwards, [need], classes=1).features
    assert isinstance(features, ResidentFeatures)
    return features


def write_ours(posts: int, scratch: Path) -> Path:
    """Loads the backbone and writes vectors and states to a cache."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    options = ExtractOptions(**{**vars(EXTRACTED), "cache": folder})
    extract(material.posts(posts, scratch), material.backbones()[0], options, NoProgress())
    return folder


def written_states_of_ours(posts: int, scratch: Path) -> States:
    """The token states in such a cache."""
    file = _cache_file(write_ours(posts, scratch))
    states, bounds = file.hidden(np.arange(len(file.header.ids)))
    return states, np.diff(bounds)


def written_vectors_of_ours(posts: int, scratch: Path) -> Vectors:
    """The sentence vectors in such a cache."""
    file = _cache_file(write_ours(posts, scratch))
    return file.pooled(np.arange(len(file.header.ids)))


def vectors_of_peer(posts: int, scratch: Path, batch_size: int) -> Vectors:
    """Sentence vectors by the peer."""
    return _sentence_vectors(_model(), posts, scratch, batch_size)


def loaded_vectors_of_peer(posts: int, scratch: Path, batch_size: int) -> Vectors:
    """Sentence vectors by the peer, after loading it."""
    return _sentence_vectors(_model.__wrapped__(), posts, scratch, batch_size)


def _sentence_vectors(
    model: "SentenceTransformer", posts: int, scratch: Path, batch_size: int
) -> Vectors:
    return model.encode(_texts(posts, scratch), batch_size=batch_size, show_progress_bar=False)


def states_of_peer(posts: int, scratch: Path, batch_size: int) -> list[torch.Tensor]:
    """Token states by the peer, a tensor a post."""
    return _model().encode(
        _texts(posts, scratch),
        batch_size=batch_size,
        show_progress_bar=False,
        output_value="token_embeddings",
        convert_to_numpy=False,
    )


def joined_states_of_peer(posts: int, scratch: Path, batch_size: int) -> States:
    """The same, end to end."""
    return _joined([each.numpy() for each in states_of_peer(posts, scratch, batch_size)])


def write_peer(posts: int, scratch: Path, batch_size: int) -> Path:
    """Loads the peer and writes vectors and states of each post to an HDF5 group."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    outputs = _model.__wrapped__().encode(
        _texts(posts, scratch),
        batch_size=batch_size,
        show_progress_bar=False,
        output_value=None,
        convert_to_numpy=False,
    )
    with h5py.File(folder / "features.h5", "w", libver="latest") as file:
        for number, row in enumerate(outputs):
            group = file.create_group(str(number))
            tokens = int(row["attention_mask"].sum())
            group.create_dataset("states", data=row["token_embeddings"][:tokens].numpy())
            group.create_dataset("vector", data=row["sentence_embedding"].numpy())
    return folder


def written_states_of_peer(posts: int, scratch: Path, batch_size: int) -> States:
    """The token states in such groups."""
    with h5py.File(write_peer(posts, scratch, batch_size) / "features.h5") as file:
        return _joined([file[str(number)]["states"][:] for number in range(posts)])


def _joined(each: list[np.ndarray]) -> States:
    return np.concatenate(each), np.array([len(states) for states in each])


def _apart(one: Vectors, other: Vectors) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one - other).max())


def _states_apart(one: States, other: States) -> float:
    return _apart(one[0], other[0]) if np.array_equal(one[1], other[1]) else float("inf")


def _cache_file(folder: Path) -> FeatureFile:
    (path,) = folder.rglob("*.h5")
    return FeatureFile(path)


@cache
def _contents(posts: int, scratch: Path) -> list[Content]:
    contents, _ = contents_of(material.posts(posts, scratch), Modality.TEXT)
    return contents


@cache
def _texts(posts: int, scratch: Path) -> list[str]:
    return [content.text for content in _contents(posts, scratch)]


@cache
def _forward(keep: Keep) -> Forward[Any]:
    backbone = load_backbone(material.backbones()[0])
    return Forward(backbone, torch.device("cpu"), Precision.FLOAT32, StoredDtype.FLOAT32, keep)


@cache
def _model() -> "SentenceTransformer":
    """The peer over the same weights; texts are cut where ours are."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    options = material.backbones()[0]
    reader = Transformer(
        options.argument,
        max_seq_length=options.max_tokens,
        model_kwargs={"dtype": torch.float32},
    )
    pooling = Pooling(reader.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[reader, pooling], device="cpu")
