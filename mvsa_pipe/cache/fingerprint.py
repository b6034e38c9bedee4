"""The fingerprint: everything that determines a cached value except the post."""

import hashlib
import json
import re
import shlex
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from mvsa_pipe.backbones import traits
from mvsa_pipe.backbones.from_record import not_makeable, renewed_preprocessing
from mvsa_pipe.backbones.options import TUNED_MARK
from mvsa_pipe.errors import CacheError
from mvsa_pipe.layers import Keep, Layers
from mvsa_pipe.modality import Modality

CACHE_SCHEMA = 2

# A backbone's name may be a path of any length; file systems allow 255 bytes.
_MOST_READABLE = 150

# Decoders of earlier versions, by how they begin, and what chose them. Such caches can be read; no
# posts can be added.
_FORMER_DECODERS = {
    "nvjpeg ": "--decode gpu",
    "simplejpeg": "--decode fast of an earlier version",
}
# The layers of a fingerprint without hidden states.
_NO_LAYERS = "none"
# Suffix of the precision of compiled backbones: other kernels give other last digits.
_COMPILED_MARK = "+compiled"


class StoredDtype(StrEnum):
    """Type of the stored numbers."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


@dataclass(frozen=True)
class Fingerprint:
    """The readable fields of a cache's identity.

    Attributes:
        backbone: The backbone's name.
        modality: The modality that it reads.
        weights: Digest of its parameters and buffers.
        preprocessing: Fields of the preprocessing.
        layers: The layers whose hidden states are kept; ``none`` where only pooled vectors are.
        pooling: How the pooled vector is computed.
        precision: Arithmetic of the forward pass.
        dtype: Type of the stored numbers.
        schema: Version of the file layout.
    """

    backbone: str
    modality: Modality
    weights: str
    preprocessing: dict[str, str | int | float]
    layers: str
    pooling: str
    precision: str
    dtype: StoredDtype
    schema: int = CACHE_SCHEMA

    def to_json(self) -> str:
        """One canonical line; equal fingerprints give equal lines."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Fingerprint":
        """Reads a line of ``to_json``.

        Raises:
            ValueError: Fields are missing or unknown, or have unknown values.
        """
        try:
            fields = json.loads(line)
            fields["modality"] = Modality(fields["modality"])
            fields["dtype"] = StoredDtype(fields["dtype"])
            own = cls(**fields)
        except (KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"not a fingerprint: {error}") from error
        rule: object = own.preprocessing
        texts: list[object] = [own.backbone, own.weights, own.layers, own.pooling, own.precision]
        if not isinstance(rule, dict) or not all(isinstance(text, str) for text in texts):
            raise ValueError("not a fingerprint: a field has another type")
        if not all(isinstance(value, str | int | float) for value in rule.values()):
            raise ValueError("not a fingerprint: preprocessing has values that are not plain")
        return own

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of a hash over all fields."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """The cache's file name: the backbone's name and eight digits of the digest."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", self.backbone).strip("-")
        return f"{readable[:_MOST_READABLE]}-{self.digest[:8]}.h5"

    def names(self, file_name: str) -> bool:
        """Whether a cache of this fingerprint, with any posts, can have that file name."""
        stem, suffix = self.file_name.removesuffix(".h5"), file_name.removesuffix(".h5")
        return re.fullmatch(rf"{re.escape(stem)}(?:-[0-9a-f]{{8}})?", suffix) is not None

    def differences(self, other: "Fingerprint") -> dict[str, tuple[object, object]]:
        """Fields that differ: name → (own value, other value)."""
        own, others = asdict(self), asdict(other)
        rows = {k: (own[k], others[k]) for k in own if own[k] != others[k]}
        rules = rows.pop("preprocessing", None)
        if rules is not None:
            mine, theirs = self.preprocessing, other.preprocessing
            for key in sorted(mine.keys() | theirs.keys()):
                if mine.get(key) != theirs.get(key):
                    rows[f"preprocessing.{key}"] = (mine.get(key), theirs.get(key))
        return rows

    def require(self, found: "Fingerprint", where: object) -> None:
        """Refuses a cache with another fingerprint.

        Raises:
            CacheError: Names every differing field with both values.
        """
        rows = self.differences(found)
        if rows:
            named = "; ".join(f"{k} is {b!r}, requested {a!r}" for k, (a, b) in rows.items())
            raise CacheError(
                "This cache has a different fingerprint than requested",
                where=where,
                expected=f"fingerprint {self.digest}",
                found=f"{found.digest}: {named}",
                hint=f"move the file away if it is in the wrong folder, then: {self.command}",
            )

    @property
    def retired(self) -> str:
        """The option that made these features and is gone; empty if there is none."""
        decoder = str(self.preprocessing.get("decoder", ""))
        for start, option in _FORMER_DECODERS.items():
            if decoder.startswith(start):
                return option
        return "--compile" if self.precision.endswith(_COMPILED_MARK) else ""

    @property
    def keep(self) -> Keep:
        """What is kept of the backbone's output."""
        return Keep.POOLED if self.layers == _NO_LAYERS else Keep.ALL

    @property
    def without_states(self) -> "Fingerprint":
        """The fingerprint of the same pooled vectors alone."""
        return replace(self, layers=_NO_LAYERS)

    @property
    def with_same_vectors(self) -> "tuple[Fingerprint, ...]":
        """Fingerprints of caches with the same pooled vectors, which are the last layer's."""
        layers = dict.fromkeys((self.layers, *(each.value for each in Layers), _NO_LAYERS))
        return tuple(replace(self, layers=each) for each in layers)

    @property
    def renewed(self) -> "Fingerprint":
        """The fingerprint that the same features have in this version."""
        return replace(self, preprocessing=renewed_preprocessing(self.preprocessing))

    def require_makeable(self, where: object) -> None:
        """Refuses features that this version cannot extract.

        Raises:
            CacheError: They were made by a removed option.
        """
        if self.retired:
            raise not_makeable(self.retired, where, self.command)

    @property
    def command(self) -> str:
        """The command that makes features of this fingerprint, given the same weights."""
        words = ["mvsa extract", "--backbone", self.backbone]
        if self.keep is Keep.POOLED:
            words += ["--keep", self.keep]
        elif self.layers != Layers.LAST:
            words += ["--layers", self.layers]
        family = self.backbone.removesuffix(TUNED_MARK).partition(":")[0]
        if self.modality is Modality.TEXT or traits(family).poolings:
            words += ["--pooling", self.pooling]
        if self.modality is Modality.TEXT:
            words += ["--max-tokens", str(self.preprocessing.get("max_tokens", ""))]
        if self.prompt is not None:
            words += ["--prompt", shlex.quote(self.prompt)]
        return " ".join([*words, "--precision", self.arithmetic, "--dtype", self.dtype])

    @property
    def prompt(self) -> str | None:
        """What stands before every text; ``None`` where ``--prompt`` was not, or does not apply."""
        family = self.backbone.removesuffix(TUNED_MARK).partition(":")[0]
        own = self.preprocessing.get("prompt") if traits(family).prompted else None
        return None if own is None else str(own)

    @property
    def arithmetic(self) -> str:
        """The precision without the mark of compiled backbones."""
        return self.precision.removesuffix(_COMPILED_MARK)
