"""What a run is asked about; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.extraction.options import BadPostPolicy


@dataclass(frozen=True)
class InferenceOptions:
    """What a run is asked about, and where features are kept.

    Attributes:
        data: Other posts; the run's own unless named.
        part: ``train``, ``val`` or ``test`` of the run's own split, or ``all``; unless named, test
            where the run's split has one, else val, and of other posts all that the run was
            neither trained nor selected on.
        cache: The folder of all caches.
        device: Where head and backbones compute.
        on_bad_post: What happens to unreadable posts that must be extracted.
    """

    data: Path | None = None
    part: str | None = None
    cache: Path = Path("cache")
    device: str = "auto"
    on_bad_post: BadPostPolicy = BadPostPolicy.ERROR
