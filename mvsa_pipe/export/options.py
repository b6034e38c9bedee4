"""What an export writes; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.options import Options, option

# The extra ``onnx``.
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
INSTALL = 'pip install "mvsa-pipe[onnx]"'


def missing_packages() -> str:
    """The packages that ONNX needs and that are not installed, in words; empty if none."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if not missing:
        return ""
    *most, last = missing
    return f"the packages {', '.join(most)} and {last}" if most else f"the package {last}"


@dataclass(frozen=True)
class ExportOptions(Options):
    """What an export writes, and where.

    Attributes:
        output: The folder to write, which must not exist.
        onnx: Also write the head and the whole model as ONNX, checked against torch. By
            default only where the extra ``onnx`` is installed.
        head: The class of the run's head, as of mvsa evaluate.

    Raises:
        ConfigError: ONNX is asked for, and its packages are not installed.
    """

    output: Path
    onnx: bool | None = None
    head: str | None = option(None, rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.onnx and (missing := missing_packages()):
            raise ConfigError(
                f"Writing ONNX needs {missing}",
                hint=f"{INSTALL}, or leave ONNX out: --no-onnx",
            )
