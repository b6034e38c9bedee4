"""Splits of posts: made at random, published with the posts, or read from files."""
