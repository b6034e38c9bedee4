"""A run's own posts are read again only as they were."""

from dataclasses import replace

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.own_posts import own_posts


def test_only_the_posts_of_the_run_are_its_own(make_run):
    run = make_run()
    posts = own_posts(run)
    assert posts.digest == run.config["data"]["digest"]
    assert {post.id for post in posts.posts} >= {member.post_id for member in run.members()}
    texts = own_posts(run, [Modality.TEXT])
    assert texts.digest == posts.digest

    def of(**changes):
        return replace(run, config=run.config | {"data": run.config["data"] | changes})

    with pytest.raises(DataError, match=r"built in memory.*mvsa fit --data TABLE"):
        own_posts(of(path=None))
    with pytest.raises(DataError, match=r"labels changed since.*digest 00000000.*mvsa fit"):
        own_posts(of(digest="00000000"))
    with pytest.raises(DataError, match="nothing at this path"):
        own_posts(of(path="nowhere"))
    assert own_posts(of(digest=None)).digest == posts.digest  # runs of 0.1 recorded none
