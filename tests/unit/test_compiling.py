"""What cannot be compiled is told by the caller's own error, in one line."""

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException

from mvsa_pipe.devices.compiling import compiled
from mvsa_pipe.errors import MvsaError


def doubled(x):
    """Twice as much."""
    return 2 * x


def test_a_function_stays_what_it_is_but_for_how_it_computes(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda f, **how: asked.append(how) or f)
    made = compiled(doubled, MvsaError, "reduce-overhead")
    assert made(3) == 6
    assert made.__doc__ == doubled.__doc__
    assert asked == [{"dynamic": True, "mode": "reduce-overhead"}]


@pytest.mark.parametrize("kind", [TorchDynamoException, BackendCompilerFailed])
def test_a_fault_is_told_by_its_innermost_reason(monkeypatch, kind):
    def broken(_):
        try:
            raise OSError("no g++ here\n\npages of code")
        except OSError as reason:
            error = kind.__new__(kind)
            error.args = ("the backend failed",)
            raise error from reason

    monkeypatch.setattr(torch, "compile", lambda _, **_how: broken)
    with pytest.raises(MvsaError, match=r"^OSError: no g\+\+ here\.$"):
        compiled(doubled, MvsaError)(1)


def test_other_errors_pass(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda f, **_how: f)
    with pytest.raises(ZeroDivisionError):
        compiled(lambda x: 1 / x, MvsaError)(0)
