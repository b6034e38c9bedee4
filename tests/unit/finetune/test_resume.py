"""An interrupted fine-tuning that goes on ends as one that was never interrupted, bit for bit."""

from dataclasses import replace

import pytest
from finetune_support import files_of

from mvsa_pipe.errors import RunError
from mvsa_pipe.finetune.checkpoint import ResumeFolder
from mvsa_pipe.finetune.options import TuningOptions
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.training.options import TrainingOptions

# averaged weights, which a checkpoint has to hold besides the trained ones
TRAINING = TrainingOptions(epochs=3, batch_size=8, device="cpu", ema=0.8, label_smoothing=0.1)
# dropout in head and backbone, augmentation: all that is drawn at random
TUNING = TuningOptions(unfreeze="last-1", text_learning_rate=1e-3, augment=True)


class Power(NoProgress):
    """Fails behind some epoch."""

    def __init__(self, epochs):
        self.epochs, self.said = epochs, []

    def note(self, _):
        if self.said and self.said[-1].startswith(f"epoch {self.epochs - 1}:"):
            raise KeyboardInterrupt  # after the next epoch, before it was saved

    def say(self, line):
        self.said.append(line)


@pytest.fixture
def whole(tune):
    return tune(training=TRAINING, tuning=TUNING, place={"name": "whole"})


def test_a_run_that_was_interrupted_twice_is_the_same_run(tune, whole):
    how = {"training": TRAINING, "tuning": TUNING, "place": {"name": "again"}}
    for epochs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            tune(progress=Power(epochs), **how)
    last = Power(-1)
    again = tune(progress=last, **how)
    assert "resuming after epoch 1" in " ".join(last.said)
    assert again.metrics["resumed_after_epochs"] == 2
    assert files_of(again) == files_of(whole)
    assert not list(again.path.parent.glob(".tuning-*"))


def test_other_options_begin_another_run(tune, whole):
    how = {"tuning": TUNING, "place": {"name": "other"}}
    with pytest.raises(KeyboardInterrupt):
        tune(training=TRAINING, progress=Power(1), **how)
    other = tune(training=replace(TRAINING, epochs=1), **how)
    assert other.metrics["resumed_after_epochs"] == 0
    (left,) = other.path.parent.glob(".tuning-*")
    (left / "last.pt").write_bytes(b"damaged")
    with pytest.raises(RunError, match="--restart trains from the start"):
        tune(training=TRAINING, tuning=TUNING, place={"name": "third"})
    again = tune(training=TRAINING, tuning=TUNING, place={"name": "third", "restart": True})
    assert files_of(again) == files_of(whole)


def test_two_at_the_same_run_are_told_apart(tmp_path):
    workplace = ResumeFolder.of(tmp_path, {"seed": 0})
    with (
        workplace.locked(restart=False),
        pytest.raises(RunError, match="Another process"),
        ResumeFolder.of(tmp_path, {"seed": 0}).locked(restart=False),
    ):
        pass
    assert not workplace.path.exists()
