"""Writes ONNX files and checks them against torch."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvsa_pipe.backbones.weights import first_line
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import MvsaError, StorageError
from mvsa_pipe.export.onnx_graphs import Graph

TOLERANCE = 1e-4
OUTPUT = "probabilities"

# One file of protocol buffers holds at most two gigabytes.
_MOST_BYTES_IN_ONE_FILE = 1_800_000_000


@dataclass(frozen=True)
class OnnxFile:
    """One network as ONNX, or why there is none.

    Attributes:
        name: The file's name.
        inputs: Type and shape of every input, free axes by their names; empty without a file.
        largest_difference: Between its probabilities and torch's; ``None`` without a file.
        fault: Why the network cannot be written; empty where it was.
    """

    name: str
    inputs: dict[str, str]
    largest_difference: float | None
    fault: str = ""

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def write_onnx(graph: Graph, batches: Sequence[dict[str, Tensor]], path: Path) -> OnnxFile:
    """Traces a network on the first batch, writes it, and compares it with torch on all of them.

    Args:
        graph: The network, in eval mode, on the CPU.
        batches: Its inputs by name, in batches of several sizes.
        path: The file.

    Raises:
        StorageError: The disk refuses.
        MvsaError: onnxruntime computes something else than torch.
    """
    graph.eval().requires_grad_(requires_grad=False)
    try:
        _convert(graph, batches[0], path)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  # an exporter may raise anything
        return OnnxFile(path.name, {}, None, f"{type(error).__name__}: {first_line(error)}")
    session = _session(path)
    largest = max(_difference(graph, batch, session) for batch in batches)
    if not largest <= TOLERANCE:
        raise MvsaError(
            f"{path.name} computes something else than torch, so nothing was written",
            expected=f"probabilities within {TOLERANCE:g}",
            found=f"a difference of {largest:g}",
            hint="--no-onnx writes the rest; please report this with the run's config.json",
        )
    return OnnxFile(path.name, _described(graph, batches[0]), largest)


def _convert(graph: Graph, batch: dict[str, Tensor], path: Path) -> None:
    inputs = tuple(batch[name] for name in graph.axes)
    names = sorted({axis for axes in graph.axes.values() for axis in axes.values()})
    free = {name: torch.export.Dim(name) for name in names}
    shapes = tuple({k: free[a] for k, a in axes.items()} for axes in graph.axes.values())
    with warnings.catch_warnings(), _quiet("torch.onnx"), _quiet("onnxscript"), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            graph,
            inputs,
            dynamo=True,
            verbose=False,
            input_names=list(graph.axes),
            output_names=[OUTPUT],
            dynamic_shapes=(shapes,),
        )
    if program is None:
        raise RuntimeError("torch.onnx gave no program")
    size = sum(t.numel() * t.element_size() for t in graph.state_dict().values())
    with storage_errors(path):
        program.save(str(path), external_data=size > _MOST_BYTES_IN_ONE_FILE)


class _quiet:  # noqa: N801  # a context manager that reads as a word
    """Holds back a logger's warnings."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)


def _session(path: Path) -> Any:  # noqa: ANN401
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _difference(graph: Graph, batch: dict[str, Tensor], session: Any) -> float:  # noqa: ANN401
    """The largest difference of a batch's probabilities; NaN where one side has no number."""
    given = {name: batch[name].numpy() for name in graph.axes}
    # An input that changes nothing (the mask of a head without one) is none of the file's.
    names = {entry.name for entry in session.get_inputs()}
    (found,) = session.run([OUTPUT], {name: v for name, v in given.items() if name in names})
    with torch.no_grad():
        expected = graph(*(batch[name] for name in graph.axes))
    return float((torch.from_numpy(found) - expected).abs().max())


def _described(graph: Graph, batch: dict[str, Tensor]) -> dict[str, str]:
    described = {}
    for name, axes in graph.axes.items():
        shape = [axes.get(k, str(length)) for k, length in enumerate(batch[name].shape)]
        described[name] = f"{str(batch[name].dtype).removeprefix('torch.')} [{', '.join(shape)}]"
    return described
