"""Published results: the file is whole, and protocols alone decide what is comparable."""

import pytest

from mvsa_pipe.analysis.claims import claims, claims_beside


def test_every_claim_has_a_figure_a_source_and_a_known_protocol_or_a_reason():
    found = claims()
    assert len(found) >= 25
    for claim in found:
        assert claim.accuracy is not None or claim.f1 is not None, claim.method
        assert claim.source
        assert claim.split
        assert claim.f1_mean in (("weighted", "macro") if claim.f1 is not None else ("",))
        assert not claim.protocol or claim.protocol.startswith(f"{claim.data}/")
        if claim.posts is not None and claim.data.startswith("mvsa"):
            assert claim.protocol.split("/")[1] == str(claim.posts)
    assert len({(c.method, c.data, c.protocol) for c in found}) == len(found)


@pytest.mark.parametrize("tag", ["mvsa-single/4511/clmlf", "mvsa-single/4511@1a2b3c4d/clmlf"])
def test_claims_under_the_same_protocol_are_comparable(tag):
    beside = claims_beside(tag)
    assert {claim.method for claim in beside.comparable} == {"CLMLF", "MVCN", "MDSE"}
    reasons = {claim.method: reason for claim, reason in beside.others}
    assert reasons["OTE (BERT + ResNet50)"] == "split 3200-800-511, not clmlf"
    assert reasons["IID-P"] == "2592 posts, not 4511"
    assert "not known" in reasons["MKVP"]
    assert "not stated" in reasons["Dual attention (BERT + DINOv2)"]
    assert all(claim.data == "mvsa-single" for claim, _ in beside.others)


def test_a_random_split_is_nobody_elses():
    beside = claims_beside("mvsa-single/4511@1a2b3c4d/random-8:1:1/seed-0")
    assert beside.comparable == []
    assert beside.others


def test_another_data_set_has_no_claims():
    beside = claims_beside("mine/10/random-8:1:1/seed-0")
    assert (beside.comparable, beside.others) == ([], [])
