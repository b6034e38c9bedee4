"""What a head scores without its text, without its picture, and without both.

Source:
    Exchanged posts: Gat, Schwartz and Schwing 2021, Perceptual Score, NeurIPS. Shapley values of
    two players: Shapley 1953, A Value for n-Person Games; of modalities: Hu, Li and Zhou 2022,
    SHAPE, IJCAI.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.options import ContributionOptions, Replacement
from mvsa_pipe.analysis.resampling import Resampler
from mvsa_pipe.analysis.rescoring import RescoredEntry
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Answers, Classes, Floats
from mvsa_pipe.modality import Modality

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
OTHER = {TEXT: IMAGE, IMAGE: TEXT}
SCORES = (Score.ACCURACY, Score.F1_MACRO, Score.LOG_LOSS)
SHUFFLE = "shuffle"
WAYS = (*(each.value for each in Replacement), SHUFFLE)

# Values ``[1 + R]``: the score, then its resamples.
Samples = Mapping[Score, Floats]


@dataclass(frozen=True)
class Ablation:
    """One head with and without its modalities.

    Attributes:
        name: The head's name in tables.
        whole: Scores with both.
        without: Scores without one, by the modality and the way of removing it.
        nothing: Scores without both.
        flips: Share of posts whose predicted class changes where a modality is exchanged.
        alone: Answers of each seed that has one modality, the other replaced.
        answers: Answers of each seed.
    """

    name: str
    whole: Samples
    without: Mapping[tuple[Modality, str], Samples]
    nothing: Samples
    flips: Mapping[Modality, Floats]
    alone: Mapping[Modality, list[Answers]]
    answers: list[Answers]

    def change(self, modality: Modality, way: str, score: Score) -> Floats:
        """Score without a modality minus the score with both ``[1 + R]``."""
        change: Floats = self.without[modality, way][score] - self.whole[score]
        return change

    def shapley(self, score: Score, replacement: Replacement) -> "Shapley":
        """Shapley values of text and picture, as gains: a reduction where lower is better."""
        sign = score.gain(1.0)
        whole, nothing = sign * self.whole[score], sign * self.nothing[score]
        text = sign * self.without[IMAGE, replacement.value][score]
        image = sign * self.without[TEXT, replacement.value][score]
        return shapley(nothing, text, image, whole)


@dataclass(frozen=True)
class Shapley:
    """Contributions of two players, each ``[1 + R]``.

    Attributes:
        text: That of the text.
        image: That of the picture.
        interaction: What both together give beyond the sum of each alone.
    """

    text: Floats
    image: Floats
    interaction: Floats


def shapley(nothing: Floats, text: Floats, image: Floats, whole: Floats) -> Shapley:
    """Shapley values of a game of two players, from the values of its four coalitions.

    ``φ_T = ½ [v(T) - v(∅)] + ½ [v(TI) - v(I)]``, ``φ_I`` alike; ``φ_T + φ_I = v(TI) - v(∅)``.
    The interaction is ``v(TI) - v(T) - v(I) + v(∅)``.
    """
    return Shapley(
        text=((text - nothing) + (whole - image)) / 2,
        image=((image - nothing) + (whole - text)) / 2,
        interaction=whole - text - image + nothing,
    )


def ablated(entry: RescoredEntry, resampler: Resampler, options: ContributionOptions) -> Ablation:
    """Scores a head that reads both modalities without each, and without both."""
    answers = entry.answers()
    without: dict[tuple[Modality, str], Samples] = {}
    alone: dict[Modality, list[Answers]] = {}
    flips: dict[Modality, Floats] = {}
    for modality in (TEXT, IMAGE):
        for replacement in Replacement:
            own = [run.without(modality, replacement) for run in entry.runs]
            without[modality, replacement.value] = resampler.scores(own, SCORES)
            if replacement is options.replacement:
                alone[OTHER[modality]] = own
        drawn = _exchanged(entry, modality, options)
        each = [resampler.scores(own, SCORES) for own in drawn]
        without[modality, SHUFFLE] = {s: np.mean([one[s] for one in each], axis=0) for s in SCORES}
        changed = [
            np.mean([own[k].predicted != answers[k].predicted for own in drawn], axis=0)
            for k in range(len(answers))
        ]
        flips[modality] = resampler.means(changed)
    nothing = entry.answers(lambda run: run.inputs_without([TEXT, IMAGE], options.replacement))
    return Ablation(
        name=entry.name,
        whole=resampler.scores(answers, SCORES),
        without=without,
        nothing=resampler.scores(nothing, SCORES),
        flips=flips,
        alone=alone,
        answers=answers,
    )


def _exchanged(
    entry: RescoredEntry, modality: Modality, options: ContributionOptions
) -> list[list[Answers]]:
    """Answers of each draw and seed; draws are shared out among the seeds, alike for all heads."""
    seeds, posts = len(entry.runs), entry.runs[0].inputs.posts
    rounds = math.ceil(options.draws / seeds)

    def order(draw: int) -> Classes:
        return np.random.default_rng([options.seed, draw]).permutation(posts)

    return [
        [
            run.answers(run.inputs.exchanged(modality, order(seed * rounds + each)))
            for seed, run in enumerate(entry.runs)
        ]
        for each in range(rounds)
    ]
