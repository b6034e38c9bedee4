"""One clear paragraph an error."""

import pickle

import pytest

from mvsa_pipe import errors
from mvsa_pipe.errors import MvsaError, name_some


def test_a_paragraph_says_what_where_expected_found_and_next() -> None:
    error = MvsaError(
        "A label is unknown", where="row 3", expected="one of a, b", found=7, hint="mend it"
    )
    assert str(error) == (
        "A label is unknown (row 3). Expected one of a, b. Found 7. Next: mend it."
    )
    assert (error.what, error.where, error.found) == ("A label is unknown", "row 3", "7")


def test_what_is_absent_is_not_mentioned() -> None:
    assert str(MvsaError("It is so")) == "It is so."
    assert str(MvsaError("Is it so", hint="did you mean this?")) == (
        "Is it so. Next: did you mean this?"
    )
    assert "Found 0." in str(MvsaError("None", found=0))


class CountedError(MvsaError):
    def __init__(self, count: int, *, where: object) -> None:
        self.count = count
        super().__init__(f"{count} things are wrong", where=where)


def test_an_error_reaches_another_process_as_it_is() -> None:
    error = pickle.loads(pickle.dumps(CountedError(3, where="here")))
    assert (type(error), error.count, error.where) == (CountedError, 3, "here")
    assert str(error) == error.paragraph() == "3 things are wrong (here)."


def test_every_error_ends_the_program_with_2() -> None:
    family = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(family) >= 8
    assert all(issubclass(error, MvsaError) and error.exit_code == 2 for error in family)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, ""),
        (1, "0"),
        (3, "0, 1, 2"),
        (4, "0, 1, 2 and 1 more"),
        (2003, "0, 1, 2 and 2,000 more"),
    ],
)
def test_some_names(count: int, text: str) -> None:
    assert name_some((str(n) for n in range(count)), most=3) == text
