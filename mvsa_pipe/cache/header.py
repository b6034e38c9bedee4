"""Reads the header of a feature file, and refuses implausible values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.byte_reads import damaged
from mvsa_pipe.cache.content import FORMAT, PARTS, QUARANTINE, SEAL_LENGTH, Header, Refusal, Segment
from mvsa_pipe.cache.fingerprint import CACHE_SCHEMA, Fingerprint
from mvsa_pipe.cache.manifest import is_part_name
from mvsa_pipe.cache.plain_hdf5 import PlainFile
from mvsa_pipe.errors import CacheError
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality


def read_header(file: PlainFile, path: Path) -> tuple[Header, NDArray[np.uint64]]:
    """The header of a feature file and the checksums of its rows, both covered by its seal.

    Raises:
        CacheError: It has another schema, or its header was changed.
        Exception: Nearly any: HDF5 raises all kinds for a damaged file.
    """
    if not file.has_attribute("format") or _word(file, "format") != FORMAT:
        raise damaged(path, "it is not marked as a feature cache")
    # First, as everything else may differ in another schema.
    schema = int(file.attribute("schema"))
    if schema != CACHE_SCHEMA:
        raise CacheError(
            "This cache has another version of the file layout",
            where=path,
            expected=f"schema {CACHE_SCHEMA}",
            found=f"schema {schema}",
            hint=f"mvsa cache remove {path}, then extract again",
        )
    fingerprint = read_fingerprint(file)
    ids = file.texts("ids")
    count = len(ids)
    segments, widths = _arrangement(file, fingerprint, count)
    offsets = None
    if fingerprint.modality is Modality.TEXT:
        offsets = file.numbers("offsets", "i8", (count + 1,))
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise ValueError("/offsets do not increase from 0")
    header = Header(
        dataset=_word(file, "dataset"),
        fingerprint=fingerprint,
        ids=ids,
        digests=file.texts("digests", (count,)),
        offsets=offsets,
        **widths,
        notes=read_notes(file),
        quarantine=_quarantine(file),
        segments=segments,
    )
    checksums = file.numbers("checksums", "u8", (count, len(PARTS)))
    (seal,) = file.texts("seal", (1,))
    if len(seal) != SEAL_LENGTH or seal != header.seal(checksums):
        raise damaged(path, "its header does not match its seal")
    _require_shapes(file, header)
    return header, checksums


def read_fingerprint(file: PlainFile) -> Fingerprint:
    """The fingerprint of a feature file.

    Raises:
        ValueError: It cannot be read.
    """
    return Fingerprint.from_json(_word(file, "fingerprint"))


def read_notes(file: PlainFile) -> dict[str, Any]:
    """Notes for users, which do not affect features.

    Raises:
        ValueError: They cannot be read, or have a wrong type.
    """
    notes = json.loads(file.json_text("notes"))
    if not isinstance(notes, dict):
        raise ValueError("/notes contain no object")  # the file is wrong
    counts = [notes.get(name, 0) for name in ("texts_cut", "tokens_cut")]
    if not all(type(value) is int for value in counts):
        raise ValueError("/notes contain counts that are not numbers")
    return notes


def _word(file: PlainFile, name: str) -> str:
    value = file.attribute(name)
    if not isinstance(value, bytes):
        raise ValueError(f"attribute {name!r} is no text")
    return bytes(value).decode()


def _quarantine(file: PlainFile) -> tuple[Refusal, ...]:
    columns = [file.texts(f"quarantine/{name}") for name in QUARANTINE]
    return tuple(Refusal(*row) for row in zip(*columns, strict=True))


def _arrangement(
    file: PlainFile, fingerprint: Fingerprint, count: int
) -> tuple[tuple[Segment, ...], dict[str, int]]:
    """Locations of rows that are in parts, and the widths of all rows.

    Virtual data sets are never opened: their description is in a heap without checksums.
    """
    image = fingerprint.modality is Modality.IMAGE
    if "segments" not in file:
        pooled = file.array("pooled", fingerprint.dtype.value).shape
        shape = file.array("hidden", fingerprint.dtype.value).shape
        plain = 3 if image else 2
        if len(pooled) != 2 or len(shape) not in (plain, plain + 1):
            raise ValueError(f"/pooled and /hidden have shapes {pooled} and {shape}")
        return (), {
            "width": int(pooled[1]),
            "tokens": int(shape[1]) if image else 0,
            "layers": int(shape[-2]) if len(shape) > plain else 1,
        }
    told = json.loads(file.json_text("segments"))
    widths = {"width": told["width"], "tokens": told["tokens"], "layers": told.get("layers", 1)}
    segments = tuple(Segment(**row) for row in told["runs"])
    numbers = [*widths.values(), *(v for s in segments for k, v in vars(s).items() if k != "name")]
    if not all(type(n) is int and 0 <= n < 2**60 for n in numbers):
        raise ValueError("/segments contain impossible numbers")
    if not all(is_part_name(s.name) for s in segments):
        raise ValueError("/segments name files that are not parts")
    if sum(segment.rows for segment in segments) != count:
        raise ValueError(f"/segments contain other rows than the {count:,} of /ids")
    return segments, widths


def _require_shapes(file: PlainFile, header: Header) -> None:
    """Refuses features whose shapes differ from the header."""
    if header.fingerprint.keep is Keep.POOLED and 0 not in header.hidden_shape:
        raise ValueError("/hidden holds states, and the fingerprint names no layers")
    if header.segments:
        if sum(segment.entries for segment in header.segments) != header.hidden_shape[0]:
            raise ValueError("/segments contain other entries than /offsets")
        return
    dtype = header.fingerprint.dtype.value
    file.array("pooled", dtype, (len(header.ids), header.width))
    file.array("hidden", dtype, header.hidden_shape)
