"""What an export writes; torch-free, so that help screens stay fast."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.options import Options

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class ExportOptions(Options):
    """What an export writes, and where.

    Attributes:
        output: The folder to write, which must not exist.
        onnx: Also write the head and the whole model as ONNX, checked against torch.

    Raises:
        ConfigError: ONNX is wanted, and its packages are not installed.
    """

    output: Path
    onnx: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        missing = [name for name in _PACKAGES if find_spec(name) is None]
        if self.onnx and missing:
            raise ConfigError(
                f"Writing ONNX needs the package {' and the package '.join(missing)}",
                hint='pip install "mvsa-pipe[onnx]", or leave ONNX out: --no-onnx',
            )
