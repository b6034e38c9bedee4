"""P-values of differences from their bootstrap resamples."""

from mvsa_pipe.metrics.weighted import Floats


def chance_of_none(difference: Floats) -> float:
    """Two-sided p-value that a difference ``[1 + R]`` is zero.

    Twice the smaller share of resamples on either side of zero, of which zeros count half; one
    resample is added to that side, so that it is never zero.

    Source:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.4.
    """
    resamples = difference[1:]
    below = (resamples < 0).sum() + 0.5 * (resamples == 0).sum()
    tail = min(below, len(resamples) - below)
    return float(min(1.0, 2 * (tail + 1) / (len(resamples) + 1)))
