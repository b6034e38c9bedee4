"""Baselines in the format of skops: no pickle, and no type that is not named here."""

import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.errors import FIT_AGAIN, RunError, name_some
from mvsa_pipe.features.batch import FeatureBatch

# Beside what skops itself trusts. A tree is checked before it is used: see _tree_faults.
TRUSTED = (
    "mvsa_pipe.baselines.svm.PairwiseSvc",
    "mvsa_pipe.baselines.terms.ToVariance",
    "sklearn.tree._tree.Tree",
)


def dump_pipelines(pipelines: Sequence[Any]) -> bytes:
    """Fitted pipelines as one file's content."""
    from skops import io as skops

    data: bytes = skops.dumps(list(pipelines))
    return data


def load_pipelines(baseline: Baseline, count: int, data: bytes, where: object) -> Baseline:
    """A baseline with the fitted pipelines that ``dump_pipelines`` wrote.

    Nothing of a file is run: skops builds objects of known types alone, and what they hold is
    checked before it answers.

    Args:
        baseline: What the run's configuration describes.
        count: How many pipelines it must have.
        data: The file's content.
        where: The run, for messages.

    Raises:
        RunError: The data is damaged, holds types that are not trusted, or does not fit.
    """
    from sklearn.pipeline import Pipeline
    from skops import io as skops

    try:
        _require_plain(data)
        strange = sorted(set(skops.get_untrusted_types(data=data)) - set(TRUSTED))
        if strange:
            raise RunError(
                "This baseline.skops holds types that mvsa-pipe does not load",
                where=where,
                expected="what mvsa fit writes",
                found=name_some(strange),
                hint="do not use this file if you do not know who made it; mvsa fit with the same "
                "options makes the run again",
            )
        pipelines = skops.loads(data, trusted=list(TRUSTED))
    except RunError:
        raise
    except Exception as error:  # whatever a changed byte does to zip, JSON or numpy
        raise _damaged(where, f"{type(error).__name__}: {error}") from error
    if not isinstance(pipelines, list) or len(pipelines) != count:
        raise _damaged(where, f"no list of {count} pipelines")
    if not all(type(pipeline) is Pipeline for pipeline in pipelines):
        raise _damaged(where, "something else than pipelines")
    loaded = baseline.holding(*pipelines)
    _require_answers(loaded, where)
    return loaded


def _require_plain(data: bytes) -> None:
    """Refuses compressed members, which could unpack to any size; skops writes none.

    Raises:
        ValueError: There is one.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        if any(info.compress_type != zipfile.ZIP_STORED for info in file.infolist()):
            raise ValueError("compressed members")


def _require_answers(baseline: Baseline, where: object) -> None:
    """Refuses pipelines of other inputs or classes, or of numbers that are not finite.

    Raises:
        RunError: It is so.
    """
    import torch

    sizes, posts = baseline.sizes, 2
    batch = FeatureBatch(
        text_pooled=torch.zeros(posts, sizes.text_width),
        image_pooled=torch.zeros(posts, sizes.image_width),
    )
    texts = ["a text"] * posts if baseline.reads_texts else None
    frame = baseline.frame(batch, texts)
    for pipeline in baseline.pipelines:
        try:
            faults = list(_faults(baseline, pipeline))
            if not faults:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    shares = pipeline.predict_proba(frame)
                if shares.shape != (posts, len(pipeline.classes_)) or not np.isfinite(shares).all():
                    faults.append("probabilities that are no finite numbers")
        except Exception as error:  # noqa: BLE001  # scikit-learn may raise anything here
            faults = [f"{type(error).__name__}: {' '.join(str(error).split())}"]
        if faults:
            raise RunError(
                "This checkpoint does not fit the baseline as it is now",
                where=where,
                found=name_some(faults),
                hint=FIT_AGAIN,
            )


def _faults(baseline: Baseline, pipeline: Any) -> Iterator[str]:  # noqa: ANN401
    """Faults of a loaded pipeline, found before it is used."""
    inputs, classifier = baseline.inputs(), baseline.classifier(baseline.strengths[0])
    parts = [(name, type(part), columns) for name, part, columns in inputs.transformers]
    found = [step for _, step in pipeline.steps]
    if [type(step) for step in found] != [type(inputs), type(classifier)] or parts != [
        (name, type(part), columns)
        for name, part, columns in found[0].transformers_
        if name != "remainder"
    ]:
        yield "other steps than this baseline has"
        return
    classes, known = np.asarray(found[1].classes_), np.arange(baseline.sizes.classes)
    once = classes.ndim == 1 and len(np.unique(classes)) == len(classes)
    if not once or not np.isin(classes, known).all():
        yield f"classes {classes.tolist()} among {len(known)}"
    columns = baseline.width + baseline.reads_texts
    if found[0].n_features_in_ != columns:
        yield f"{found[0].n_features_in_} columns for {columns}"
    if baseline.reads_texts:
        own = dict({name: part for name, part, _ in inputs.transformers}["terms"].steps)
        yield from _term_faults(own, dict(found[0].named_transformers_["terms"].steps))
    for trees in np.ravel(getattr(found[1], "estimators_", [])):
        yield from _tree_faults(trees.tree_, found[1].n_features_in_)


def _term_faults(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Terms in places beyond the vocabulary's end, which scipy reads without a check."""
    if {name: type(step) for name, step in found.items()} != {
        name: type(step) for name, step in expected.items()
    } or str(found["tfidf"].get_params()) != str(expected["tfidf"].get_params()):
        yield "other terms than this baseline has"
        return
    places = sorted(found["tfidf"].vocabulary_.values())
    if places != list(range(len(found["tfidf"].idf_))):
        yield "a vocabulary that does not fit its idf"


def _tree_faults(tree: Any, features: int) -> Iterator[str]:  # noqa: ANN401
    """Places in a tree beyond its end, which scikit-learn reads without a check."""
    nodes = np.arange(tree.node_count)
    left, right, split_on = tree.children_left, tree.children_right, tree.feature
    inner = left >= 0
    forward = (left > nodes) & (right > nodes) & (left < len(nodes)) & (right < len(nodes))
    known = (split_on >= 0) & (split_on < features)
    if not (forward & known)[inner].all() or not (right[~inner] < 0).all() or not len(nodes):
        yield "a tree whose branches lead nowhere"
    if not np.isfinite(tree.value).all():
        yield "a tree with answers that are no finite numbers"


def _damaged(where: object, found: str) -> RunError:
    return RunError("This checkpoint is damaged", where=where, found=found, hint=FIT_AGAIN)
