"""Folds that were published together, and lists of line numbers instead of ids."""

import shutil

import pytest

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts import parse_split
from mvsa_pipe.posts.splits.cross_validation import fold_names
from mvsa_pipe.posts.splits.split_files import read_split

# of thirty posts whose ids are 100, 101 …; lines of the list go backwards
IDS = [str(100 + n) for n in range(30)]
LINES = IDS[::-1]
NUMBERS = {"positive": 1, "negative": 2, "neutral": 0}


@pytest.fixture
def posts(post_set):
    found = post_set(["positive", "negative", "neutral"] * 10)
    return renamed(found, IDS)


def renamed(posts, ids):
    from dataclasses import replace

    pairs = zip(posts.posts, ids, strict=True)
    return replace(posts, posts=tuple(replace(post, id=post_id) for post, post_id in pairs))


def parts_of(fold):
    """Line numbers of each part: ten are tested, ten others selected on."""
    order = [*range(10 * (fold - 1), 30), *range(10 * (fold - 1))]
    return {"test": order[:10], "val": order[10:20], "train": order[20:]}


@pytest.fixture
def fair(tmp_path, posts):
    """Three folds in the published layout."""
    root = tmp_path / "fair"
    (root / "splits").mkdir(parents=True)
    label_of = {post.id: NUMBERS[post.label] for post in posts.posts}
    rows = [f"{i},{label_of[i]},{label_of[i]},{label_of[i]}" for i in LINES]
    (root / "valid_pairlist.txt").write_text("\n".join(rows) + "\n")
    for fold in (1, 2, 3):
        for part, numbers in parts_of(fold).items():
            text = "".join(f"{n}\n" for n in numbers)
            (root / "splits" / f"{part}_{fold}.txt").write_text(text)
    return root


def expected(fold):
    return {part: {LINES[n] for n in numbers} for part, numbers in parts_of(fold).items()}


def found(split):
    return {part: set(split.ids(part)) for part in ("test", "val", "train")}


@pytest.mark.parametrize("inside", ["", "/splits", "/splits/"])
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_numbers_are_lines_of_the_list(fair, posts, inside, fold):
    split = parse_split(f"{fair}{inside}:{fold}", posts)
    assert found(split) == expected(fold)
    assert split.tag == f"fair/fold-{fold}"


def read_folds(folder, posts):
    """As a bench over these folds reads them."""
    return [parse_split(name, posts) for name in fold_names(str(folder))]


def test_all_folds(fair, posts):
    folds = read_folds(fair, posts)
    assert [split.tag for split in folds] == ["fair/fold-1", "fair/fold-2", "fair/fold-3"]
    assert [found(split) for split in folds] == [expected(fold) for fold in (1, 2, 3)]


def test_numbers_that_are_ids_too_are_lines(fair, post_set):
    posts = renamed(post_set(["positive", "negative", "neutral"] * 10), map(str, range(30)))
    lines = [f"{n},{NUMBERS[posts.posts[n].label]},0,0" for n in range(29, -1, -1)]
    (fair / "valid_pairlist.txt").write_text("\n".join(lines))
    split = parse_split(f"{fair}:1", posts)
    assert set(split.ids("test")) == {str(29 - n) for n in parts_of(1)["test"]}


@pytest.mark.parametrize("inside", ["", "splits"])
def test_a_fold_has_to_be_named(fair, posts, inside):
    with pytest.raises(SplitError, match=r"contains folds.*one of 1, 2, 3\..*--split .*:1"):
        parse_split(str(fair / inside), posts)


@pytest.mark.parametrize("fold", ["0", "4", "999999999"])
def test_a_fold_that_is_not_there(fair, posts, fold):
    with pytest.raises(SplitError, match=rf"no fold {fold} at.*one of 1, 2, 3"):
        parse_split(f"{fair}:{fold}", posts)


def test_line_numbers_without_their_list_are_refused(fair, posts, tmp_path, post_set):
    alone = tmp_path / "elsewhere" / "deep"
    shutil.copytree(fair / "splits", alone)
    numbered = renamed(post_set(["positive", "negative", "neutral"] * 10), map(str, range(30)))
    for of_it in (posts, numbered):  # also where every number is an id
        with pytest.raises(SplitError, match=r"contain line numbers.*valid_pairlist\.txt"):
            parse_split(f"{alone}:2", of_it)


def test_one_fold_alone_is_no_exception(fair, posts):
    for file in (fair / "splits").glob("*_[23].txt"):
        file.unlink()
    assert found(read_split(fair / "splits", posts)) == expected(1)
    assert found(read_split(fair, posts, fold=1)) == expected(1)
    (fair / "valid_pairlist.txt").unlink()
    with pytest.raises(SplitError, match="contain line numbers"):
        read_split(fair / "splits", posts)


def test_plain_lists_beside_the_list_hold_lines_too(fair, posts):
    for part, numbers in parts_of(1).items():
        (fair / f"{part}.txt").write_text("".join(f"{n}\n" for n in numbers))
    shutil.rmtree(fair / "splits")
    assert found(read_split(fair, posts)) == expected(1)


def test_plain_lists_that_count_through_are_suspected(tmp_path, posts):
    for part, numbers in parts_of(1).items():
        (tmp_path / f"{part}.txt").write_text("".join(f"{n}\n" for n in numbers))
    with pytest.raises(
        SplitError, match=r"30 ids that the data set lacks.*numbers seem to be line numbers"
    ):
        read_split(tmp_path, posts)


def test_numbered_lists_of_ids_are_ids(fair, posts):
    (fair / "valid_pairlist.txt").unlink()
    for file in (fair / "splits").iterdir():
        numbers = file.read_text().split()
        file.write_text("".join(f"{LINES[int(n)]}\n" for n in numbers))
    assert found(parse_split(f"{fair}:2", posts)) == expected(2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("129,0", "129,1"), r"other labels.*1 other labels \(129"),
        (lambda text: text.replace("129,", "128,"), "occur twice in this list.*128"),
        (lambda text: text.replace("129,0,0,0", "129,3,0,0"), "line 1: '129,3,0,0'"),
        (lambda text: text.replace("129,0,0,0\n", "\n"), "line 1: ''"),
        (lambda text: text.replace("129,0,0,0", "129,neutral,neutral"), "line 1: "),
        (lambda _: "", "no line"),
        (lambda text: text.replace("129,", "9999,"), "1 id that the data set lacks: 9999.*: 129"),
        (lambda text: text[text.index("\n") + 1 :], r"not line numbers.*0 to 28.*29"),
    ],
)
def test_a_list_that_does_not_fit(fair, posts, change, words):
    file = fair / "valid_pairlist.txt"
    file.write_text(change(file.read_text()))
    with pytest.raises(SplitError, match=words):
        read_folds(fair, posts)


@pytest.mark.parametrize("entry", ["-1", "30", "1.0", "x", "١", "9" * 5000])
def test_entries_that_are_no_lines(fair, posts, entry):
    with (fair / "splits" / "train_1.txt").open("a", encoding="utf-8") as file:
        file.write(f"{entry}\n")
    with pytest.raises(SplitError, match=r"not line numbers.*train_1\.txt.*1 entry beyond"):
        parse_split(f"{fair}:1", posts)


def test_windows_line_ends(fair, posts):
    for file in [fair / "valid_pairlist.txt", *(fair / "splits").iterdir()]:
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert found(parse_split(f"{fair}:3", posts)) == expected(3)


@pytest.mark.parametrize("name", ["fold_{}", "fold-{}", "{}", "Fold{}", "split_{:02}"])
def test_folders_of_folds(tmp_path, posts, name):
    root = tmp_path / "mine"
    for fold in (1, 2, 3):
        folder = root / name.format(fold)
        folder.mkdir(parents=True)
        for part, numbers in parts_of(fold).items():
            (folder / f"{part}.txt").write_text("".join(f"{LINES[n]}\n" for n in numbers))
    assert found(parse_split(f"{root}:2", posts)) == expected(2)
    assert parse_split(f"{root}:2", posts).tag == "mine/fold-2"
    assert parse_split(str(root / name.format(2)), posts).parts == read_folds(root, posts)[1].parts
    with pytest.raises(SplitError, match="one of 1, 2, 3"):
        parse_split(str(root), posts)


def test_two_folders_of_one_number(tmp_path, posts):
    for name in ("fold_1", "fold-01"):
        (tmp_path / name).mkdir()
    with pytest.raises(SplitError, match=r"same part of the same fold.*fold-01 and fold_1"):
        parse_split(f"{tmp_path}:1", posts)


def test_a_path_that_ends_in_a_number_after_a_colon(tmp_path, posts, fair):
    for name in ("odd:3", "odd"):
        folder = tmp_path / name
        folder.mkdir()
        for part, numbers in parts_of(1).items():
            (folder / f"{part}.txt").write_text("".join(f"{LINES[n]}\n" for n in numbers))
    assert found(parse_split(str(tmp_path / "odd:3"), posts)) == expected(1)
    fair.rename(tmp_path / "fair:1")
    assert found(parse_split(f"{tmp_path / 'fair:1'}:2", posts)) == expected(2)


def test_no_folds(tmp_path, posts):
    (tmp_path / "s.csv").write_text("id,split\n")
    for path in (tmp_path, tmp_path / "s.csv"):
        with pytest.raises(SplitError, match="no folds at this path"):
            parse_split(f"{path}:3", posts)
    for text in (r"C:\folds", "C:3", f"{tmp_path}/none:3"):
        with pytest.raises(SplitError, match="names no split"):
            parse_split(text, posts)


@pytest.mark.parametrize("fold", ["", ":1"])
def test_a_folder_that_cannot_be_listed(fair, posts, monkeypatch, fold):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(SplitError, match=r"folder cannot be read.*Permission denied"):
        parse_split(f"{fair}{fold}", posts)
