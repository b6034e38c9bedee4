"""The table of fusion heads and baselines; reading it imports no torch.

A new head is one class derived from ``FusionHead``, a new baseline one derived from ``Baseline``,
and one row here: command line, contract tests, bench and README table all read this table. Heads
outside of this package are added by ``heads.own`` or by entry points of the group
``mvsa_pipe.heads``.
"""

from typing import TYPE_CHECKING

from mvsa_pipe.registry import Registry, Row
from mvsa_pipe.user_code import is_reference

if TYPE_CHECKING:
    from mvsa_pipe.heads.model import Model

FAITHFUL_SUFFIX = "-faithful"
_S1 = "arXiv 2412.03625"
_S2 = "arXiv 2503.07943"


def _row(name: str, target: str, summary: str, source: str) -> Row:
    return Row(name, f"mvsa_pipe.heads.{target}", summary, source)


def _baseline(name: str, target: str, summary: str, source: str) -> Row:
    return Row(name, f"mvsa_pipe.baselines.{target}", summary, source)


HEADS: "Registry[type[Model]]" = Registry(
    "head",
    [
        _row("text", "unimodal:TextOnly", "the text alone", f"{_S1}, {_S2} (baseline)"),
        _row("image", "unimodal:ImageOnly", "the picture alone", f"{_S1}, {_S2} (baseline)"),
        _row("native-cat", "native:NativeCat", "both vectors side by side", f"{_S1} 3.4"),
        _row(
            "native-combine",
            "native:NativeCombine",
            "one classifier a modality, their logits added",
            f"{_S1} 3.4",
        ),
        _row(
            "cmac",
            "cmac:Cmac",
            "cross-attention both ways, one classifier a modality",
            f"{_S1} 3.1",
        ),
        _row(
            "hstec",
            "hstec:Hstec",
            "one transformer layer over all tokens, one classifier a modality",
            f"{_S1} 3.2",
        ),
        _row("ote", "ote:Ote", "one transformer layer over the two vectors", f"{_S1} 3.3"),
        _row("basic", "latent:Basic", "both latents side by side", _S2),
        _row(
            "self-attention",
            "latent:SelfAttention",
            "self-attention inside each modality and over both joined",
            f"{_S2} (interpretation)",
        ),
        _row(
            "dual-attention",
            "latent:DualAttention",
            "self-attention inside each modality, cross-attention both ways",
            f"{_S2} (interpretation)",
        ),
        _row(
            "gated",
            "gated:Gated",
            "a gate mixes both vectors, entry by entry",
            "arXiv 1702.01992",
        ),
        _row(
            "low-rank",
            "low_rank:LowRank",
            "products of both vectors, weighted by a tensor of low rank",
            "arXiv 1806.00064",
        ),
        _row(
            "co-attention",
            "co_attention:CoAttention",
            "tokens weighed by how well they fit the other modality's",
            "arXiv 1606.00061",
        ),
        _row(
            "cross-transformer",
            "cross_transformer:CrossTransformer",
            "transformer layers in which each modality reads the other",
            "arXiv 1906.00295",
        ),
        _row(
            "bottleneck",
            "bottleneck:Bottleneck",
            "two transformers that share a few tokens, one classifier a modality",
            "arXiv 2107.00135",
        ),
        _baseline(
            "logistic",
            "logistic:Logistic",
            "logistic regression on both vectors: what a neural head must beat",
            "scikit-learn",
        ),
        _baseline(
            "svm",
            "svm:Svm",
            "support vector machines with a Gaussian kernel on both vectors",
            "scikit-learn",
        ),
        _baseline(
            "boosting",
            "boosting:Boosting",
            "gradient boosted trees on both vectors",
            "scikit-learn; Friedman 2001, 2002",
        ),
        _row(
            f"native-combine{FAITHFUL_SUFFIX}",
            "native:NativeCombineFaithful",
            "native-combine as published, softmax upon softmax",
            f"{_S1} 3.4 and its code",
        ),
        _row(
            f"cmac{FAITHFUL_SUFFIX}",
            "cmac:CmacFaithful",
            "cmac as published, without a padding mask",
            f"{_S1} 3.1 and its code",
        ),
        _row(
            f"hstec{FAITHFUL_SUFFIX}",
            "hstec:HstecFaithful",
            "hstec as published, without a padding mask",
            f"{_S1} 3.2 and its code",
        ),
        _row(
            f"ote{FAITHFUL_SUFFIX}",
            "ote:OteFaithful",
            "ote as published, attending over a sequence of one",
            f"{_S1} 3.3 and its code",
        ),
    ],
    group="mvsa_pipe.heads",
)


def named_head(head: str) -> str:
    """The name in the table for a name, ``my_heads.py:Mine`` or ``package.module:Mine``.

    A head outside of this package is imported and added to the table; no other imports torch.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: There is no such file or class, or it is no usable head.
    """
    if not is_reference(head) and HEADS.row(head) in HEADS.built_in:
        return head
    from mvsa_pipe.heads.own import head_name

    return head_name(head)


def is_faithful(row: Row) -> bool:
    """Whether a head repeats a published computation, defects included.

    The bench leaves these out unless they are asked for by name.
    """
    return row.name.endswith(FAITHFUL_SUFFIX)
