"""The temperature of a run: one number that makes its probabilities agree with its accuracy.

``p_T = softmax(ln p / T)``, with ``T`` of least log-loss on the validation posts alone. Predicted
classes stay the same. It is kept beside the run, and applied only where it is asked for.

Source:
    Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks, ICML, section 4.
"""

import hashlib
from contextlib import suppress
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import RunError, StorageError
from mvsa_pipe.json_schema import read_json, validated
from mvsa_pipe.metrics.weighted import Classes, Floats
from mvsa_pipe.posts.splits.split import VAL
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.layout import CALIBRATION, PREDICTIONS

# The temperatures that are searched.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
# A probability below what predictions.csv can hold counts as this much.
_LEAST_SHARE = 1e-6


class Temperature(msgspec.Struct, frozen=True):
    """A run's temperature.

    Attributes:
        temperature: ``T``; above 1 for heads that are too sure.
        posts: Validation posts that it was fitted on.
        digest: Digest of the predictions that it was fitted on.
    """

    temperature: Annotated[float, msgspec.Meta(ge=LEAST_TEMPERATURE, le=MOST_TEMPERATURE)]
    posts: int
    digest: str


def tempered(shares: Floats, temperature: float) -> Floats:
    """Probabilities ``[N, C]`` at a temperature."""
    logits = np.log(np.maximum(np.asarray(shares, np.float64), _LEAST_SHARE)) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = raised / raised.sum(axis=1, keepdims=True)
    return found


def tempered_as_stored(shares: NDArray[np.float32], run: Run) -> NDArray[np.float32]:
    """A run's probabilities at its temperature, in single precision.

    Raises:
        RunError: The run has no validation posts.
    """
    return tempered(shares.astype(np.float64), temperature_of(run).temperature).astype(np.float32)


def fitted_temperature(shares: Floats, labels: Classes) -> float:
    """The temperature of least log-loss.

    Args:
        shares: Probabilities ``[N, C]``.
        labels: True classes ``[N]``.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        own = tempered(shares, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(own, np.finfo(float).tiny)).mean())

    bounds = float(np.log(LEAST_TEMPERATURE)), float(np.log(MOST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def temperature_of(run: Run) -> Temperature:
    """A run's temperature: the kept one, or a new one if its predictions have changed.

    Raises:
        RunError: The run has no predictions of validation posts.
    """
    path = run.path / CALIBRATION
    try:
        digest = hashlib.sha256((run.path / PREDICTIONS).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise RunError(
            "This run's predictions cannot be read", where=run.path / PREDICTIONS, found=error
        ) from error
    with suppress(OSError, ValueError):  # a record that is missing or damaged is written again
        kept = validated(read_json(path), Temperature)
        if kept.digest == digest:
            return kept
    shares, labels = validation_predictions(run)
    found = Temperature(round(fitted_temperature(shares, labels), 6), len(labels), digest)
    with suppress(StorageError):  # the folder may be read-only; it is fitted again next time
        write_json(path, msgspec.to_builtins(found))
    return found


def validation_predictions(run: Run) -> tuple[Floats, Classes]:
    """Probabilities ``[N, C]`` and classes ``[N]`` of a run's validation posts.

    Raises:
        RunError: There are none.
    """
    classes = list(run.config["data"]["classes"])
    rows = [row for row in run.predictions() if row.split == VAL]
    if not rows:
        raise RunError(
            "This run has no predictions of validation posts to calibrate on",
            where=run.path,
            hint="fit it over a split with a part val, such as --split random-8:1:1",
        )
    shares = np.array([row.probabilities for row in rows], np.float64)
    return shares, np.array([classes.index(row.label) for row in rows], np.int64)
