"""Which scores tables show; torch-free, so that help screens stay fast."""

from dataclasses import dataclass

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.options import Options, option


@dataclass(frozen=True)
class ScoreChoice(Options):
    """Which scores tables show.

    Attributes:
        scores: Scores that tables show, joined by commas. Records contain all: accuracy,
            balanced_accuracy, precision, recall and f1 as NAME_macro or NAME_weighted, mcc, kappa,
            auroc, average_precision, log_loss, brier, ece.

    Raises:
        ConfigError: A name stands for no score, or stands twice.
    """

    scores: str = option("accuracy,f1_macro,f1_weighted", rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name.strip().replace("-", "_") for name in self.scores.split(",")]
        unknown = [name for name in names if name not in set(Score)]
        if unknown or len(set(names)) < len(names):
            raise ConfigError(
                "--scores cannot be used",
                expected=f"different ones of {', '.join(Score)}, joined by commas",
                found=repr(unknown[0]) if unknown else self.scores,
            )

    @property
    def chosen(self) -> tuple[Score, ...]:
        """The scores, in the order typed."""
        return tuple(Score(name.strip().replace("-", "_")) for name in self.scores.split(","))


DEFAULT_SCORES = ScoreChoice().chosen
