"""The corrected resampled t-test against its formula by hand and a plain t-test."""

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from mvsa_pipe.metrics.corrected_t import corrected_mean

VALUES = [0.02, 0.05, -0.01, 0.03, 0.04]


def test_without_training_posts_in_common_it_is_the_t_test():
    found = corrected_mean(VALUES, 0.0)
    plain = ttest_1samp(VALUES, 0.0)
    assert found.p_value == pytest.approx(plain.pvalue)
    assert found.interval == pytest.approx(tuple(plain.confidence_interval(0.95)))


def test_overlap_widens_it_by_its_formula():
    found = corrected_mean(VALUES, 1 / 8)
    error = np.sqrt((1 / 5 + 1 / 8) * np.var(VALUES, ddof=1))
    assert found.error == pytest.approx(error)
    assert found.p_value == pytest.approx(2 * t.sf(np.mean(VALUES) / error, 4))
    assert found.interval[1] - found.mean == pytest.approx(t.ppf(0.975, 4) * error)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_equal_folds_have_no_spread(value, p):
    found = corrected_mean([value] * 3, 0.1)
    assert found.interval == pytest.approx((value, value))
    assert found.p_value == pytest.approx(p, abs=1e-12)


def test_one_fold_is_refused():
    with pytest.raises(ValueError, match="two folds"):
        corrected_mean([0.1], 0.1)
