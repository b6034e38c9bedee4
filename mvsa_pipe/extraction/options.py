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
            texts of ``max_tokens``. 0 takes 8 on a CPU and 64 on a GPU; halved where memory is
            short.
        workers: Threads that read and decode posts; 0 takes one a core.
        on_bad_post: Whether unreadable posts end the extraction or are left out.
        retry_failed: Whether posts that could not be read are tried again though unchanged.
        shard: Only the i-th of n equal shares of the posts, as i/n, for ``mvsa cache merge`` to
            join.
        join_gib: Caches above so many GiB keep their rows in parts, behind one file.
        ray: Compute on a Ray cluster: local for one of this machine's own, or the address of one
            (auto, HOST:PORT, ray://HOST:PORT); empty computes here.
        ray_actors: How many actors compute there; 0 takes one a GPU, or one a machine where there
            are none.
        ray_parts: Where actors leave finished parts for this process to fetch, as a URL that
            fsspec opens; empty where all machines see the caches' folder.

    Raises:
        ConfigError: A field cannot be used.
    """

    cache: Path = Path("cache")
    device: str = "auto"
    precision: str = "auto"
    dtype: StoredDtype = StoredDtype.FLOAT16
    batch_size: int = 0
    workers: int = 0
    on_bad_post: BadPostPolicy = BadPostPolicy.ERROR
    retry_failed: bool = False
    shard: str = "1/1"
    join_gib: float = 64.0
    ray: str = ""
    ray_actors: int = 0
    ray_parts: str = ""

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise ConfigError("--batch-size cannot be negative", found=self.batch_size)
        if not self.join_gib >= 0:
            raise ConfigError("--join-gib must be a number from 0", found=self.join_gib)
        index, count = self.share
        if not 1 <= index <= count:
            raise _no_share(self.shard)
        if self.workers < 0:
            raise ConfigError("--workers cannot be negative", found=self.workers)
        if self.ray_actors < 0:
            raise ConfigError("--ray-actors cannot be negative", found=self.ray_actors)
        if not self.ray and (self.ray_actors or self.ray_parts):
            raise ConfigError(
                "--ray-actors and --ray-parts say how a Ray cluster is used, and none is",
                hint="name it: --ray local, --ray auto or --ray ADDRESS",
            )
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(
                f"No precision is named {self.precision!r}", expected="auto, float32 or bfloat16"
            )

    @property
    def share(self) -> tuple[int, int]:
        """``(i, n)``: this is the i-th of n shares, from 1.

        Raises:
            ConfigError: ``shard`` says nothing of the kind.
        """
        index, slash, count = self.shard.partition("/")
        if not (slash and _is_number(index) and _is_number(count)):
            raise _no_share(self.shard)
        return int(index), int(count)

    @property
    def join_below_bytes(self) -> float:
        """Bytes above which caches keep their rows in parts."""
        return self.join_gib * 2**30

    @property
    def shard_name(self) -> str:
        """The share as file names have it; empty for all posts."""
        index, count = self.share
        return f"{index}-of-{count}" if count > 1 else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _no_share(text: str) -> ConfigError:
    return ConfigError(
        "--shard cannot be used", expected="i/n such as 1/4, i from 1 to n", found=text
    )
