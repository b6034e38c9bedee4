"""Options of an extraction; torch-free, so that help screens stay fast."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mvsa_pipe.backbones.options import BackboneOptions, Decode
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.layers import Keep, Layers
from mvsa_pipe.options import MOST_BATCH, MOST_THREADS, Options, option

_PRECISIONS = ("auto", "float32", "bfloat16")


class BadPostPolicy(StrEnum):
    """What happens to posts whose text or image cannot be read."""

    ERROR = "error"
    SKIP = "skip"


@dataclass(frozen=True)
class ExtractOptions(Options):
    """Options of an extraction.

    Attributes:
        cache: The folder of all caches.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        dtype: Type of the stored numbers.
        keep: Keep hidden states too (all), or pooled vectors alone. These take a hundredth of the
            space, and serve heads that read no tokens.
        batch_size: Images per pass; 0: 8 on a CPU, 64 on a GPU. Texts are counted
            in tokens: a batch holds as many as ``batch_size`` texts of ``max_tokens`` have. It is
            halved when memory is short.
        workers: Reading threads; 0 takes one per core.
        decode: How pictures are decoded. All ways give the same pixels: exact uses Pillow; fast
            takes half the time, after a self-test; auto is fast for 1,000 pictures and more if the
            self-test passes.
        on_bad_post: Raise an error for unreadable posts, or skip them.
        retry_failed: Try posts that could not be read again even if they are unchanged.
        shard: Extract one share of the posts, as i/n. It is the i-th of n equal shares;
            ``mvsa cache merge`` joins the shares.
        join_gib: Caches larger than this many GiB keep their rows in parts. One file refers to
            them.
        ray: Compute on a Ray cluster. local starts one on this machine; auto, HOST:PORT or
            ray://HOST:PORT is the address of one; empty computes here.
        ray_actors: Number of actors on the cluster; 0 takes one per GPU. On a cluster without
            GPUs, 0 takes one per machine.
        ray_parts: URL at which actors store finished parts for this process. fsspec must be able to
            open it; empty if all machines share the caches' folder.

    Raises:
        ConfigError: A field cannot be used.
    """

    panel = "Computing"

    cache: Path = Path("cache")
    device: str = "auto"
    precision: str = option("auto", among=_PRECISIONS, rare=True)
    dtype: StoredDtype = StoredDtype.FLOAT16
    keep: Keep = Keep.ALL
    batch_size: int = option(0, least=0, most=MOST_BATCH)
    workers: int = option(0, least=0, most=MOST_THREADS)
    decode: Decode = option(Decode.AUTO, rare=True)
    on_bad_post: BadPostPolicy = option(BadPostPolicy.ERROR, "--on-bad-image", "--on-bad-post")
    retry_failed: bool = option(False, rare=True)
    shard: str = option("1/1", rare=True)
    join_gib: float = option(64.0, least=0, rare=True)
    ray: str = option("", rare=True)
    ray_actors: int = option(0, least=0, most=MOST_THREADS, rare=True)
    ray_parts: str = option("", rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        index, count = self.share
        if not 1 <= index <= count:
            raise _no_share(self.shard)
        if not self.ray and (self.ray_actors or self.ray_parts):
            raise ConfigError(
                "--ray-actors and --ray-parts configure a Ray cluster, but --ray is not given",
                hint="name it: --ray local, --ray auto or --ray ADDRESS",
            )

    @property
    def share(self) -> tuple[int, int]:
        """``(i, n)``: this is the i-th of n shares, from 1.

        Raises:
            ConfigError: ``shard`` is not of this form.
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
        """The share in file names; empty for all posts."""
        index, count = self.share
        return f"{index}-of-{count}" if count > 1 else ""

    def refuse_layers(self, backbones: Iterable[BackboneOptions]) -> None:
        """Refuses layers of hidden states where only pooled vectors are kept.

        Raises:
            ConfigError: A backbone has other layers than the last.
        """
        layered = [backbone for backbone in backbones if backbone.layers is not Layers.LAST]
        if self.keep is Keep.POOLED and layered:
            raise ConfigError(
                "--keep pooled keeps no hidden states of any layer, and pooled vectors are the "
                "last layer's",
                expected="--layers last, or --keep all",
                found=f"--layers {layered[0].layers}",
            )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _no_share(text: str) -> ConfigError:
    return ConfigError(
        "--shard cannot be used", expected="i/n such as 1/4, i from 1 to n", found=text
    )
