"""tf-idf of the text, with a vocabulary that is learnt from training posts alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch
from mvsa_pipe.heads.growing import Growing

# Words and pairs of neighbouring words.
_LONGEST_TERM = 2


class Terms(Growing):
    """Words and pairs of words, weighed by how rare they are: ``(1 + ln n) · idf``, length 1.

    ``learn`` takes the most frequent terms of the texts that it is given, which are those of the
    training posts: a head is solved on nothing else. Terms that they lack count for nothing later.
    All vectors are multiplied by one number, so that over the training posts they vary as much in
    all as the standardised vectors that they stand beside; a penalty then weighs both alike.

    Vocabulary and idf are tensors of the module and saved with the head's weights: the terms as
    UTF-8, one a line, in the order of their columns.

    Args:
        most: The most terms that are kept.

    Source:
        scikit-learn's ``TfidfVectorizer`` with ``sublinear_tf`` and ``ngram_range=(1, 2)``.

    Axes beyond the common legend: ``V`` terms.
    """

    grows = ("vocabulary", "idf")

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.register_buffer("vocabulary", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("idf", torch.zeros(0))
        self.register_buffer("scale", torch.ones(()))

    def faults(self) -> Iterator[str]:
        """A vocabulary that is no text, names a term twice, or does not fit the idf."""
        try:
            names = self.names if self.get_buffer("vocabulary").numel() else []
        except UnicodeDecodeError:
            yield "vocabulary, which is no UTF-8"
            return
        if len(set(names)) != len(names) or "" in names:
            yield "vocabulary, which has a term twice or an empty one"
        elif len(names) != len(self.get_buffer("idf")):
            yield "idf, which has not one number a term"

    def learn(self, batch: FeatureBatch, variance: float) -> Any:  # noqa: ANN401  # scipy has no types
        """Takes the terms of training posts.

        Args:
            batch: The training posts.
            variance: How much their vectors shall vary, all entries added up.

        Returns:
            The posts' vectors ``[B, V]``, as a sparse matrix of scipy.

        Raises:
            DataError: Their texts have no words.
        """
        texts = _texts(batch)
        model = _vectorizer(max_features=self.most)
        try:
            rows = model.fit_transform(texts)
        except ValueError as error:  # all that it refuses of a list of strings
            raise DataError(
                "tf-idf terms need words of two letters or more in the training posts' texts",
                found=f"none in {len(texts):,} texts",
                hint="leave out --set terms=…",
            ) from error
        varies = rows.multiply(rows).sum() / len(texts) - np.square(rows.mean(axis=0)).sum()
        self.assign("vocabulary", _packed(model.get_feature_names_out().tolist()))
        self.assign("idf", model.idf_)
        # of texts that are all the same no factor makes any that differ
        self.assign("scale", torch.tensor((variance / varies) ** 0.5 if varies > 1e-9 else 1.0))
        return rows * np.float32(self.get_buffer("scale").item())

    def rows(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        """Vectors ``[B, V]`` of any texts, as a sparse matrix of scipy."""
        model = _vectorizer(vocabulary=self.names)
        model.idf_ = self.get_buffer("idf").cpu().numpy()
        return model.transform(texts) * np.float32(self.get_buffer("scale").item())

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B V"]:
        """Vectors of a batch's texts, with all their zeros.

        Raises:
            ValueError: The batch lacks texts.
        """
        idf = self.get_buffer("idf")
        if not len(idf):
            return idf.new_zeros(len(_texts(batch)), 0)
        return torch.from_numpy(self.rows(_texts(batch)).toarray()).to(idf)

    @property
    def names(self) -> list[str]:
        """The terms, in the order of their columns."""
        return bytes(self.get_buffer("vocabulary").tolist()).decode().split("\n")


def _vectorizer(**options: Any) -> Any:  # noqa: ANN401
    # only a run that asks for terms pays for the import
    from sklearn.feature_extraction.text import TfidfVectorizer

    span = (1, _LONGEST_TERM)
    return TfidfVectorizer(ngram_range=span, sublinear_tf=True, dtype=np.float32, **options)


def _texts(batch: FeatureBatch) -> tuple[str, ...]:
    if batch.texts is None:
        raise ValueError("a head that reads terms needs texts, which the batch lacks")
    return batch.texts


def _packed(terms: Sequence[str]) -> Tensor:
    return torch.frombuffer(bytearray("\n".join(terms).encode()), dtype=torch.uint8)
