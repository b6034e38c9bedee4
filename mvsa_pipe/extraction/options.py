"""What a user can say about an extraction; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.errors import ConfigError


class BadPostPolicy(StrEnum):
    """What happens to posts whose text or image cannot be read."""

    ERROR = "error"
    SKIP = "skip"


@dataclass(frozen=True)
class ExtractOptions:
    """How the features of one backbone are made and kept.

    Attributes:
        cache: The folder of all caches.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        dtype: Type of the stored numbers.
        batch_size: Images a forward pass; texts go by tokens, as many as fill ``batch_size``
            texts of ``max_tokens``.
        workers: Threads that decode images; 0 takes one a core.
        on_bad_post: Whether unreadable posts end the extraction or are left out.

    Raises:
        ConfigError: A field cannot be used.
    """

    cache: Path = Path("cache")
    device: str = "auto"
    precision: str = "auto"
    dtype: StoredDtype = StoredDtype.FLOAT16
    batch_size: int = 32
    workers: int = 0
    on_bad_post: BadPostPolicy = BadPostPolicy.ERROR

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError("--batch-size must be positive", found=self.batch_size)
        if self.workers < 0:
            raise ConfigError("--workers cannot be negative", found=self.workers)
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(
                f"No precision is named {self.precision!r}", expected="auto, float32 or bfloat16"
            )
