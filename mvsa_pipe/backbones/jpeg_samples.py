"""JPEGs made to find differences between two decoders: sizes, chroma subsampling, qualities."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pillow's numbers of chroma subsampling; it writes no others.
_BY_PILLOW = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
_BY_SIMPLEJPEG = {"4:4:0": "440", "4:1:1": "411"}

# Pillow writes a progressive JPEG into a buffer of 64 kB or a byte a pixel; this many always fit.
_MOST_PROGRESSIVE_PIXELS = 20_000

SUBSAMPLINGS = (*_BY_PILLOW, *_BY_SIMPLEJPEG)


@dataclass(frozen=True)
class JpegSample:
    """A JPEG of noise, waves and hard edges, in colours up to black and white.

    Attributes:
        width: In pixels.
        height: In pixels.
        subsampling: One of ``SUBSAMPLINGS``.
        quality: As of libjpeg, 1 to 100.
        progressive: Whether it has several scans; not with 4:4:0 and 4:1:1.
        restart_blocks: Blocks between restart markers; 0 writes none; as ``progressive``.
        seed: Seed of its content.
    """

    width: int
    height: int
    subsampling: str
    quality: int = 75
    progressive: bool = False
    restart_blocks: int = 0
    seed: int = 0

    def __str__(self) -> str:
        more = ", progressive" if self.progressive else ""
        return (
            f"a JPEG of {self.width} x {self.height} pixels, {self.subsampling}, "
            f"quality {self.quality}{more}"
        )

    def encoded(self) -> bytes:
        """The file's bytes."""
        pixels = self._pixels()
        if self.subsampling in _BY_SIMPLEJPEG:
            import simplejpeg  # here, as help screens need no pictures

            subsampling = _BY_SIMPLEJPEG[self.subsampling]
            return bytes(
                simplejpeg.encode_jpeg(pixels, self.quality, "RGB", colorsubsampling=subsampling)
            )
        buffer = BytesIO()
        restarts = {"restart_marker_blocks": self.restart_blocks} if self.restart_blocks else {}
        Image.fromarray(pixels).save(
            buffer,
            "JPEG",
            quality=self.quality,
            subsampling=_BY_PILLOW[self.subsampling],
            progressive=self.progressive,
            **restarts,
        )
        return buffer.getvalue()

    def _pixels(self) -> NDArray[np.uint8]:
        draws = np.random.default_rng(self.seed)
        cells = draws.integers(0, 256, (self.height // 7 + 1, self.width // 7 + 1, 3))
        edges = cells.repeat(7, 0).repeat(7, 1)[: self.height, : self.width]
        down, across = np.sin(np.arange(self.height) / 9), np.cos(np.arange(self.width) / 5)
        waves = 90 * np.add.outer(down, across)[..., None]
        noise = draws.normal(0, 9, (self.height, self.width, 3))
        pixels: NDArray[np.uint8] = (edges + waves + noise).clip(0, 255).astype(np.uint8)
        return pixels


# Odd and even sides, tall and wide up to 1:2, larger and smaller than their resized size; every
# subsampling; baseline and progressive; lowest and highest qualities.
SELF_TEST = (
    JpegSample(97, 61, "4:4:4", seed=1),
    JpegSample(61, 97, "4:2:2", seed=2),
    JpegSample(97, 61, "4:2:0", seed=3),
    JpegSample(98, 63, "4:4:0", seed=4),
    JpegSample(95, 62, "4:1:1", seed=5),
    JpegSample(130, 131, "4:2:0", quality=95, seed=6),
    JpegSample(131, 66, "4:2:0", progressive=True, seed=7),
    JpegSample(66, 131, "4:4:4", progressive=True, quality=40, seed=8),
    JpegSample(160, 80, "4:2:2", quality=1, seed=9),
    JpegSample(81, 162, "4:2:0", quality=100, restart_blocks=3, seed=10),
    JpegSample(31, 17, "4:2:0", seed=11),
    JpegSample(2, 3, "4:2:0", seed=12),
    JpegSample(317, 211, "4:2:0", quality=85, seed=13),
)


def drawn(draws: np.random.Generator) -> JpegSample:
    """A sample of any kind: up to 1:4, up to 800 pixels, of any subsampling and quality."""
    short = int(draws.integers(1, 400))
    sides = (short, min(800, int(short * draws.uniform(1, 4))))
    subsampling = str(draws.choice(SUBSAMPLINGS))
    more: dict[str, Any] = {}
    if subsampling in _BY_PILLOW:
        more["progressive"] = bool(draws.integers(2))
        more["restart_blocks"] = int(draws.integers(0, 9))
    large = sides[0] * sides[1] > _MOST_PROGRESSIVE_PIXELS
    most = 30 if more.get("progressive") and large else 100
    return JpegSample(
        *(sides if draws.integers(2) else sides[::-1]),
        subsampling,
        quality=int(draws.integers(1, most + 1)),
        seed=int(draws.integers(2**31)),
        **more,
    )
