"""Heads on controlled posts: what a head can compute, it learns; what it cannot, it does not."""

import mvsa_pipe as mv

BACKBONES = ["tiny-text", "tiny-patches"]


def accuracies(root, relation, *heads):
    """Test accuracy of heads on posts of a relation, every one of which follows it."""
    posts = mv.synthesize(root / relation, relation=relation, posts=1000, noise=0.0)
    caches = mv.extract(posts, BACKBONES, cache=root / "cache")
    data = mv.load(posts, caches, split="random-7:1:2")
    found = {}
    for head in heads:
        run = mv.fit(data, head, epochs=8, learning_rate=1e-3, patience=0, runs=root / "runs")
        found[head] = run.scores["test"].values["accuracy"]
    return found


def test_tokens_tell_local_posts_and_pooled_vectors_do_not(tmp_path):
    found = accuracies(tmp_path, "local", "low-rank", "co-attention")
    assert found["co-attention"] > 0.9
    # 200 posts at 0.5: five standard errors
    assert found["low-rank"] < 0.68


def test_products_tell_opposed_posts_and_sums_do_not(tmp_path):
    found = accuracies(tmp_path, "opposed", "native-combine", "low-rank")
    assert found["low-rank"] > 0.9
    # no sum of logits is right in more than three of four cells
    assert found["native-combine"] < 0.85
