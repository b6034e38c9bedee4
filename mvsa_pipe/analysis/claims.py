"""Published results, with what a careful reader must know of each; one row a claim in a file."""

import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from mvsa_pipe.json_schema import parse_json, validated

_FILE = "claims.json"

# The digest of ids and labels, and the seed, that tags of this project have and publications lack.
_OWN_DETAILS = re.compile(r"@[0-9a-f]{8}|/seed-\d+")


@dataclass(frozen=True)
class Claim:
    """One published result.

    Attributes:
        method: The method, with its backbones where they matter.
        year: Of its publication; ``None`` if not known.
        data: The data set.
        protocol: Posts and split as a protocol tag, as far as they are known; empty if not.
        posts: Posts of the data set that were used.
        split: The split in words.
        selection: What the model was selected on; empty if not stated.
        accuracy: In percent.
        f1: In percent.
        f1_mean: ``weighted`` or ``macro``.
        source: Where it was published.
        second_hand: Whether another publication is quoted: check the original before citing it.
        audit: What a check of the protocol or of the figures found.
    """

    method: str
    year: int | None
    data: str
    protocol: str
    posts: int | None
    split: str
    selection: str
    accuracy: float | None
    f1: float | None
    f1_mean: str
    source: str
    second_hand: bool
    audit: str

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ClaimsBeside:
    """Claims beside results under one protocol.

    Attributes:
        comparable: Claims under the same protocol.
        others: Claims on the same data set that are not comparable, each with the reason.
    """

    comparable: list[Claim]
    others: list[tuple[Claim, str]]


def claims() -> list[Claim]:
    """All claims of the package's file, in its order."""
    data = files("mvsa_pipe.analysis").joinpath(_FILE).read_bytes()
    return validated(parse_json(data), list[Claim])


def claims_beside(protocol: str) -> ClaimsBeside:
    """The claims that results under a protocol may be compared with, and why others may not.

    Args:
        protocol: A protocol tag such as ``mvsa-single/4511@1a2b3c4d/clmlf``.
    """
    own = _OWN_DETAILS.sub("", protocol)
    data, posts, split = (*own.split("/", 2), "", "")[:3]
    found = ClaimsBeside([], [])
    for claim in claims():
        if claim.data != data:
            continue
        their_posts, their_split = (*claim.protocol.split("/", 2), "", "")[1:3]
        if claim.protocol and claim.protocol == own:
            found.comparable.append(claim)
        elif not claim.protocol:
            found.others.append((claim, f"posts or split: {claim.split}"))
        elif their_posts != posts:
            found.others.append((claim, f"{their_posts} posts, not {posts}"))
        elif not their_split:
            found.others.append((claim, f"another split, or not known which ({claim.split})"))
        else:
            found.others.append((claim, f"split {their_split}, not {split}"))
    return found
