"""What a fusion head must satisfy, whatever it computes, as checks that anybody can run.

They use random features, and take about a second. ``mvsa heads check`` prints them as a table,
the contract tests call them for every head of the package, and training calls those of them
that decide whether its numbers mean anything before it trains a head outside of the package.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mvsa_pipe.errors import ConfigError, MvsaError
from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.check_batches import SIZES, random_batch
from mvsa_pipe.heads.checks import (
    Subject,
    companions_fault,
    gradients_fault,
    logits_fault,
    padding_fault,
    reads_fault,
    saving_fault,
    seed_fault,
)
from mvsa_pipe.heads.options import HeadOptions, OptionValue, parse_options
from mvsa_pipe.user_code import origin_of

# Sizes that a head's shapes are tried with beside those of the other checks.
_OTHER_SIZES = (FeatureSizes(1, 3, 2, 2), FeatureSizes(9, 4, 1, 5))


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        check: The check's name.
        asks: What it asks.
        fault: Why the head does not satisfy it; empty if it does.
        note: What qualifies a head that does.
    """

    check: str
    asks: str
    fault: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the head satisfies it."""
        return not self.fault


@dataclass(frozen=True)
class Check:
    """One point of the contract.

    Attributes:
        name: Its name.
        asks: What it asks, in a few words.
        fault: Returns why a head does not satisfy it; empty if it does.
        decides: Whether results of a head that fails it mean nothing, so that it is not trained.
    """

    name: str
    asks: str
    fault: Callable[[Subject], str]
    decides: bool = False

    def run(self, subject: Subject) -> CheckResult:
        """The outcome; an exception of the head's own code is a fault."""
        try:
            fault = self.fault(subject)
        except MvsaError as error:
            fault = error.paragraph()
        except Exception as error:  # noqa: BLE001  # whatever the head's code raises
            fault = " ".join(f"{type(error).__name__}: {error}".split())
        note = "" if fault else _note(self, subject)
        return CheckResult(self.name, self.asks, fault, note)


def _note(check: Check, subject: Subject) -> str:
    dependent = check.name in (_COMPANIONS, _PADDING) and not subject.build(0).batch_independent
    return "not asked of it: the class declares batch_independent = False" if dependent else ""


_COMPANIONS, _PADDING = "companions", "padding"
CHECKS = (
    Check(
        "logits",
        "finite float32 logits [B, C], for one post and for several",
        logits_fault,
        decides=True,
    ),
    Check(
        _COMPANIONS,
        "logits of a post that do not depend on the others of its batch",
        companions_fault,
        True,
    ),
    Check(_PADDING, "logits that padding of texts does not change", padding_fault, decides=True),
    Check("gradients", "finite gradients that reach every parameter", gradients_fault),
    Check("reads", "a head that reads what its needs name, and no more", reads_fault, decides=True),
    Check("seed", "weights and a training that the seed alone decides", seed_fault, decides=True),
    Check("saving", "the same bits after saving and loading", saving_fault, decides=True),
)


def subject_of(
    kind: type[FusionHead],
    options: HeadOptions | None = None,
    sizes: FeatureSizes = SIZES,
    name: str = "head",
) -> Subject:
    """A head class as a subject of checks, over one backbone a modality."""
    chosen = kind.Options() if options is None else options
    return Subject(
        lambda seed: kind.build(sizes, chosen, seed),
        lambda posts, tokens, seed: random_batch(sizes, posts, tokens, seed),
        name,
    )


def check_head(
    kind: type[FusionHead], options: HeadOptions | None = None, name: str = "head"
) -> list[CheckResult]:
    """Runs all checks on a head class, with some options or its defaults.

    The first check is made with several sizes of features, the others with one.
    """
    subjects = [subject_of(kind, options, sizes, name) for sizes in (SIZES, *_OTHER_SIZES)]
    first, *rest = CHECKS
    results = [first.run(subject) for subject in subjects]
    failed = [result for result in results if not result.passed]
    return [(failed or results)[0], *(check.run(subjects[0]) for check in rest)]


def require_sound(name: str, given: Mapping[str, OptionValue], sizes: FeatureSizes) -> None:
    """Refuses to train a head outside of the package whose numbers would mean nothing.

    Args:
        name: Its name in the table of heads; those of the package itself are tested with it.
        given: Its options that differ from their defaults.
        sizes: Sizes of the features that it will read.

    Raises:
        ConfigError: It fails a check that decides, or an option cannot be used.
    """
    kind = HEADS.load(name)
    if origin_of(kind) is not None and issubclass(kind, FusionHead):
        options = parse_options(name, kind.Options, given)
        _require_sound(kind, options, replace(sizes, text_layers=(), image_layers=()), name)


@functools.cache  # the runs of a bench share one check
def _require_sound(
    kind: type[FusionHead], options: HeadOptions, sizes: FeatureSizes, name: str
) -> None:
    subject = subject_of(kind, options, sizes, name)
    for check in CHECKS:
        if not check.decides or (result := check.run(subject)).passed:
            continue
        hint = f"mvsa heads check {HEADS.row(name).target} shows all checks"
        if check.name in (_COMPANIONS, _PADDING):
            hint += "; batch_independent = False in the class trains it nevertheless, marked so"
        raise ConfigError(
            f"Head {name!r} breaks the contract of heads",
            where=check.name,
            expected=check.asks,
            found=result.fault,
            hint=hint,
        )
