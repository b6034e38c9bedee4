"""The result of an extraction for one backbone."""

from dataclasses import dataclass
from typing import Any

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.provenance import peak_memory_bytes


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction for one backbone.

    Attributes:
        file: The cache, up to date.
        extracted: Number of posts that were computed.
        reused: Number of posts whose features were cached.
        skipped: Reasons of posts that were left out, by id.
        device: The device that computed.
        profile: Seconds of stages and phases, of all backbones in the same pass.
        computed: Ids of the posts that were computed.
    """

    file: FeatureFile
    extracted: int
    reused: int
    skipped: dict[str, str]
    device: str
    profile: dict[str, Any]
    computed: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """Wall time of the pass."""
        return float(self.profile["wall_seconds"])

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        header = self.file.header
        return {
            "cache": str(self.file.path),
            "dataset": header.dataset,
            "backbone": header.fingerprint.backbone,
            "fingerprint": header.fingerprint.digest,
            "precision": header.fingerprint.precision,
            "dtype": header.fingerprint.dtype.value,
            "device": self.device,
            "extracted": self.extracted,
            "reused": self.reused,
            "skipped": self.skipped,
            "payload_bytes": header.payload_bytes,
            "seconds": round(self.seconds, 3),
            "profile": self.profile,
            "peak_memory_bytes": peak_memory_bytes(),
            "notes": header.notes,
        }
