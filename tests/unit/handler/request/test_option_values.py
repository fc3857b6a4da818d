import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.options import GREATEST_SCALE, LEAST_SCALE
from handler.request.option_values import Choice, Classes, Count, Flag, Number, Scales, Values

NAMES = ("background", "cat", "Dog", "traffic light, red", "7", "träd")
WORDS = ("rle", "png", "none")

#: A kind of values, and values of it.
KINDS: list[tuple[Values, st.SearchStrategy[Any]]] = [
    (Choice(WORDS), st.sampled_from(WORDS)),
    (Flag(), st.booleans()),
    (Number(0, 10), st.floats(0, 10)),
    (Count(1, 4), st.integers(1, 4)),
    (Scales(LEAST_SCALE, GREATEST_SCALE, 6), st.sets(st.floats(LEAST_SCALE, GREATEST_SCALE), min_size=1, max_size=6)),
    (Classes(NAMES), st.sets(st.sampled_from(range(len(NAMES))), min_size=1)),
]

#: What JSON holds.
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def plain(value: Any) -> Any:
    """As JSON holds it: several in a list, ascending."""
    return sorted(value) if isinstance(value, set | tuple) else value


def text(value: Any) -> str:
    """As a person would write it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[type(kind).__name__ for kind, _ in KINDS])
@given(data=st.data())
def test_a_value_is_read_from_json_from_text_and_from_json_as_text(
    kind: Values, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = plain(data.draw(values))
    expected = tuple(value) if isinstance(value, list) else value
    spellings = [value, text(value), f" {text(value)} ", json.loads(json.dumps(value))]
    if isinstance(value, list):
        spellings += [json.dumps(value), value[::-1]]

    assert [kind.parse(each) for each in spellings] == [expected] * len(spellings)


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=[type(kind).__name__ for kind, _ in KINDS])
@given(anything=ANY_JSON)
def test_anything_is_a_value_or_refused_in_few_words(kind: Values, anything: object) -> None:
    try:
        value = kind.parse(anything)
    except ValueError as error:
        said = str(error)
        assert said
        assert len(said) < 400
    else:
        assert kind.parse(plain(value)) == value


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=[type(kind).__name__ for kind, _ in KINDS])
@pytest.mark.parametrize("depth", [1, 900])
def test_deeply_nested_lists_are_refused_like_shallow_ones(kind: Values, depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested, nested]

    with pytest.raises(ValueError, match=r"a list is|scales are more"):
        kind.parse(nested)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Choice(WORDS), "pgn", r"'pgn' does not exist, did you mean 'png'\?$"),
        (Choice(WORDS), None, r"null is not text"),
        (Choice(WORDS), True, r"true is not text"),
        (Choice(WORDS), {"png": 1}, r"an object is not text"),
        (Choice(WORDS), "p" * 300, r"'p{80}'… \(300 characters\) does not exist"),
        (Flag(), 1, r"1 is neither true nor false"),
        (Flag(), "", r"'' is neither true nor false"),
        (Number(0, 1), 1.0000001, r"1\.0000001 is above 1"),
        (Number(0, 1), "-1", r"-1 is below 0"),
        (Number(0, 1), math.inf, r"inf is above 1"),
        (Number(0, 1), "nan", r"'nan' is not a number"),
        (Number(0, 1), 10**400, r"10{79}… is not a number"),
        (Number(0, 1), False, r"false is not a number"),
        (Count(1, 4), 1.5, r"1\.5 is not a whole number"),
        (Count(1, 4), "5", r"5 is above 4"),
        (Count(1, 4), math.inf, r"inf is above 4"),
        (Scales(0.25, 2, 2), [1, 1.5, 2], r"3 scales are more than this server's limit of 2"),
        (Scales(0.25, 2, 2), [], r"there must be at least one scale"),
        (Scales(0.25, 2, 2), [[1]], r"a list is not a number"),
        (Scales(0.25, 2, 2), "[1", r"'\[1' is not a JSON list"),
        (Classes(NAMES), "kat", r"there is no class 'kat', did you mean 'cat'\?"),
        (Classes(NAMES), "9" * 5000, r"there is no class '9{80}'… \(5,000 characters\) \(known: background"),
        (Classes(NAMES), 6, r"there is no class 6, the last is 5, 'träd'"),
        (Classes(NAMES), -1, r"there is no class '-1'"),
        (Classes(NAMES), 1.0, r"1\.0 is neither a class's name nor its index"),
        (Classes(NAMES), True, r"true is neither a class's name nor its index"),
        (Classes(NAMES), None, r"null is neither a class's name nor its index"),
        (Classes(NAMES), [], r"names no class"),
        (Classes(NAMES), "1," * 50_000, r"50,001 classes are more than the 6 that there are"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(kind: Values, given: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        kind.parse(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cat", (1,)),
        ("CAT, dog", (1, 2)),
        ("träd", (5,)),
        (["cat", 0], (0, 1)),
        ("1,cat", (1,)),
        ("traffic light, red", (3,)),
        (["traffic light, red", "cat"], (1, 3)),
        # A name that looks like an index goes before it, as text; a number is an index.
        ("7", (4,)),
        ("5", (5,)),
        (4, (4,)),
    ],
)
def test_classes_go_by_name_in_any_case_or_by_index(given: object, expected: tuple[int, ...]) -> None:
    assert Classes(NAMES).parse(given) == expected


def test_names_that_differ_in_case_alone_must_be_spelt_exactly() -> None:
    names = Classes(("Cat", "cat"))

    assert (names.parse("Cat"), names.parse("cat")) == ((0,), (1,))
    with pytest.raises(ValueError, match="there is no class 'CAT'"):
        names.parse("CAT")
