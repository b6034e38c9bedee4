"""Posts: reads a data set in any known layout, labels it, splits it and reports its faults.

``read_posts`` yields a ``PostSet``; ``parse_split`` divides it; ``check_posts`` looks for faults
that would affect a result. A new layout is one file with a reader and one row in ``FORMATS``.
"""

from typing import TYPE_CHECKING

from mvsa_pipe.lazy import lazy_names

if TYPE_CHECKING:
    from mvsa_pipe.posts.formats import FORMATS, LabelRule, Quoting, Reader, ReadOptions, Task
    from mvsa_pipe.posts.post import Post, PostSet
    from mvsa_pipe.posts.reading import read_posts
    from mvsa_pipe.posts.splits.make_split import parse_split, random_split
    from mvsa_pipe.posts.splits.split import Split, protocol_tag

__all__ = [
    "FORMATS",
    "LabelRule",
    "Post",
    "PostSet",
    "Quoting",
    "ReadOptions",
    "Reader",
    "Split",
    "Task",
    "parse_split",
    "protocol_tag",
    "random_split",
    "read_posts",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FORMATS": "formats",
        "LabelRule": "formats",
        "Post": "post",
        "PostSet": "post",
        "Quoting": "formats",
        "ReadOptions": "formats",
        "Reader": "formats",
        "Split": "splits.split",
        "Task": "formats",
        "parse_split": "splits.make_split",
        "protocol_tag": "splits.split",
        "random_split": "splits.make_split",
        "read_posts": "reading",
    },
)
