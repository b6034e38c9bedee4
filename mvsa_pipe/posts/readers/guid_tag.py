"""Lists with the header ``guid,tag`` beside (or above) files named by guid."""

from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.formats import ReadOptions, kebab
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.readers.id_files import IdFiles, decode_text
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS
from mvsa_pipe.posts.tables.row_faults import RowFaults

_HEADER = ["guid", "tag"]
# The tag of posts whose label is withheld.
_UNLABELLED = frozenset(("", "null", "none", "nan"))


class GuidTagReader:
    """Reads all ``guid,tag`` lists of a folder, or one named list."""

    looks_for = "a .txt or .csv list with the header guid,tag, and data/ID.txt, data/ID.jpg"
    takes: frozenset[str] = frozenset()

    def recognises(self, place: DatasetPath) -> bool:
        """Whether a list with that header is here."""
        return any(_is_list(place, name) for name in place.files())

    def read(self, place: DatasetPath, options: ReadOptions) -> PostSet:
        """All posts of all lists, list by list; the tag ``null`` leaves a post unlabelled.

        Raises:
            DataError: Rows that cannot be used, or no text and picture files.
        """
        tags: dict[str, str | None] = {}
        lists = [name for name in place.files() if _is_list(place, name)]
        for name in lists:
            faults = RowFaults(place.where(name))
            tags |= _read_list(place, name, tags, faults)
            faults.raise_any()
        files = IdFiles(place, tags)
        posts = []
        for post_id, tag in tags.items():
            text, encoding = files.text(post_id)
            image, sought = files.image(post_id)
            posts.append(Post(post_id, text, image, tag, encoding, sought=sought))
        n_unlabelled = sum(tag is None for tag in tags.values())
        set_name = options.name or place.marked_name() or _own_name(place)
        return PostSet(
            name=set_name,
            classes=SENTIMENTS,
            posts=tuple(posts),
            storage=place.storage,
            notes=dict(files.notes) | ({"unlabelled": n_unlabelled} if n_unlabelled else {}),
        )


def _own_name(place: DatasetPath) -> str:
    # A list is called train.txt everywhere; its folder is more specific.
    return kebab(place.path.resolve().parent.name if place.file is not None else place.stem())


def _lines(place: DatasetPath, name: str) -> list[str]:
    text, _ = decode_text(place.read(name))
    return text.split("\n")


def _is_list(place: DatasetPath, name: str) -> bool:
    if not name.lower().endswith((".txt", ".csv")):
        return False
    return [cell.strip().lower() for cell in _lines(place, name)[0].split(",")] == _HEADER


def _read_list(
    place: DatasetPath, name: str, earlier: dict[str, str | None], faults: RowFaults
) -> dict[str, str | None]:
    tags: dict[str, str | None] = {}
    for number, line in enumerate(_lines(place, name)[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_HEADER):
            faults.add(number, f"{len(cells)} comma-separated columns, where guid,tag is expected")
            continue
        post_id, tag = cells[0], cells[1].lower()
        if tag not in SENTIMENTS and tag not in _UNLABELLED:
            faults.add(number, f"the tag {tag!r}, which is none of {', '.join(SENTIMENTS)}, null")
        elif post_id in earlier:
            faults.add(number, f"the guid {post_id!r} is in another list of this folder too")
        elif faults.new_id(number, post_id):
            tags[post_id] = None if tag in _UNLABELLED else tag
    return tags


READER = GuidTagReader()
