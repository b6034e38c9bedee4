"""Options of the page; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.options import Options, option

# Ports that users may bind without rights of their own.
_LEAST_PORT, _MOST_PORT = 1024, 65535


@dataclass(frozen=True)
class TryOptions(Options):
    """Where the page is served, and what the runs read.

    Attributes:
        port: The port of the page. By default the first free one from 7860.
        open: Open the page in a browser.
        share: Also serve the page under a public address, through a tunnel of gradio.live. Texts
            and pictures then pass through that service.
        cache: The folder of all caches. Means of training posts are read there; by default, in each
            run's caches, where it found them.
        device: auto, cpu, cuda or mps.
    """

    port: int | None = option(None, least=_LEAST_PORT, most=_MOST_PORT)
    open: bool = False
    share: bool = False
    cache: Path | None = None
    device: str = "auto"
