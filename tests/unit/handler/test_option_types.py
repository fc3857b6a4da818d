"""Conversion of text and JSON to option values, and a JSON Schema that accepts exactly the valid JSON."""

import json
import math
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from handler.option_types import (
    WORD,
    BandNumbers,
    ClassNames,
    Flag,
    ImageName,
    Number,
    NumberList,
    Text,
    ValueRange,
    WholeNumber,
)

SCALE = Number(0.25, 2)
NAMES = ("background", "cat", "Dog", "traffic light, red", "7", "träd")

#: A type, and JSON values of it.
TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "word": (Annotated[Literal["rle", "png"], WORD], st.sampled_from(["rle", "png"])),
    "flag": (Flag, st.booleans()),
    "number": (Annotated[float, Number(0, 10)], st.floats(0, 10)),
    "count": (Annotated[int, WholeNumber(1, 4)], st.integers(1, 4)),
    "several": (
        Annotated[tuple[Annotated[float, SCALE], ...], NumberList(SCALE, 3)],
        st.lists(st.floats(0.25, 2), min_size=1, max_size=3, unique=True),
    ),
    "classes": (Annotated[Any, ClassNames(NAMES)], st.lists(st.sampled_from(range(len(NAMES))), min_size=1, max_size=4)),
    "bands": (Annotated[Any, BandNumbers("first")], st.lists(st.integers(1, 999), min_size=3, max_size=3)),
    "range": (Annotated[Any, ValueRange(("type", "auto"))], st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2)),
}
#: Types whose values keep their order.
ORDERED = {"bands", "range"}
ADAPTERS = {name: TypeAdapter[Any](annotation) for name, (annotation, _) in TYPES.items()}
SCHEMAS = {name: adapter.json_schema() for name, adapter in ADAPTERS.items()}
#: Everything that JSON can express, most of it close to a valid option value.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 8),
    st.integers(),
    st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 10.5, -0.0, 2**63, 10**400, 1e300, 0.24999999999999997]),
    st.floats(-1, 11),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([*NAMES, "all", "ALL", "dog", "cat\n", "3", "03", "rle", "PNG", "png", "true", "True", "[1]", "", "-0"]),
    st.lists(st.sampled_from([*NAMES, "0", "5", "6", " 1", "2 ", "0.5"]), max_size=7).map(",".join),
    st.from_regex(r"[0-2 ]?[.]?[0-9]{0,3}([e,][-]?[0-9]{1,2})?", fullmatch=True),
    st.floats(-0.1, 11).map(str),
    st.lists(st.floats(0.2, 2.1).map(str), max_size=4).map(",".join),
    st.text(max_size=5),
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=7) | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=10,
)


def read(name: str, value: Any) -> Any:
    return ADAPTERS[name].validate_python(value)


def accepts(name: str, value: Any) -> bool:
    try:
        read(name, value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", TYPES)
@given(value=ANY_JSON)
def test_json_is_accepted_exactly_if_the_schema_accepts_it(name: str, value: Any) -> None:
    valid = jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(value)

    assert accepts(name, value) == valid


@pytest.mark.parametrize("name", TYPES)
def test_schemas_are_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(json.dumps(SCHEMAS[name])))


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
def test_text_and_json_give_the_same_value_in_any_order(name: str, data: st.DataObject) -> None:
    value = data.draw(TYPES[name][1])
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    spellings = [json.loads(json.dumps(value)), text.replace("T", "t").replace("F", "f"), Text(text), Text(f" {text} ".upper())]
    if isinstance(value, list):
        spellings += [tuple(value), Text(json.dumps(value)), *([] if name in ORDERED else [value[::-1]])]

    results = {read(name, spelling) for spelling in spellings}

    expected = tuple(value if name in ORDERED else sorted(set(value))) if isinstance(value, list) else value
    assert results == {expected}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bands", Text(" FIRST "), "first"),
        ("bands", Text("[3, 2, 1]"), (3, 2, 1)),
        ("bands", Text("4"), (4,)),
        ("bands", 4, (4,)),
        ("bands", [4.0, "3", 3], (4, 3, 3)),
        ("range", Text("AUTO"), "auto"),
        ("range", Text(" -1.5e1 , 3e3"), (-15, 3000)),
        ("range", "-1.5,3000", (-1.5, 3000)),
        ("range", [0, "0.3"], (0, 0.3)),
    ],
)
def test_bands_and_ranges_are_words_or_numbers_in_order(name: str, value: Any, expected: Any) -> None:
    assert read(name, value) == expected


@pytest.mark.parametrize("name", ["bands", "range"])
@given(
    value=st.lists(st.one_of(st.integers(-1, 1001), st.just(10**38), st.sampled_from(["1", "01", "2.5", "1e-7"])), max_size=4)
)
def test_lists_of_bands_and_values_have_an_exact_schema(name: str, value: list[Any]) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])

    assert accepts(name, value) == validator.is_valid(value)
    assert accepts(name, text := ",".join(map(str, value))) == validator.is_valid(text)


@pytest.mark.parametrize("text", ["0_2", "١", "²", "0x1", "1e", "1.5.", "--1", "nan", "inf", "Infinity", "1e999", "True", ""])
@pytest.mark.parametrize("name", ["number", "count", "several"])
def test_text_that_is_not_a_decimal_number_is_refused(name: str, text: str) -> None:
    assert not accepts(name, Text(text))


@pytest.mark.parametrize("text", ["1", "+1", "1.", "01", "1e0", "10E-1", ".1e+1", " 1\n"])
@pytest.mark.parametrize("name", ["number", "count", "several"])
def test_decimal_text_is_a_number(name: str, text: str) -> None:
    assert read(name, Text(text)) in (1, (1,))


@given(st.floats(0.2, 2.05))
def test_a_pattern_has_the_bounds_of_its_number(number: float) -> None:
    assert accepts("several", str(number)) == (0.25 <= number <= 2)


@pytest.mark.parametrize(
    ("text", "is_valid"), [("2.000", True), ("2.0001", False), ("0.25", True), ("0.24999999999999999999", False)]
)
def test_a_pattern_is_exact_where_floats_are_not(text: str, is_valid: bool) -> None:
    assert accepts("several", text) == is_valid


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", TYPES)
def test_numbers_are_finite(name: str, number: float) -> None:
    assert not accepts(name, number)
    assert not accepts(name, [number])


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("depth", [1, 900])
def test_nested_lists_are_refused(name: str, depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested, nested]

    assert not accepts(name, nested)


@pytest.mark.parametrize("item", [1, "x", None])
@pytest.mark.parametrize("name", ["several", "classes"])
def test_a_list_of_a_million_is_refused_by_its_length(name: str, item: Any) -> None:
    with pytest.raises(ValidationError, match="1,000,000") as error:
        read(name, [item] * 1_000_000)

    assert error.value.error_count() == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("all", None),
        (Text(" ALL"), None),
        ("cat", (1,)),
        (2, (2,)),
        (2.0, (2,)),
        (Text("dog"), (2,)),
        (Text("TRÄD"), (5,)),
        (["cat", 0], (0, 1)),
        (["cat", 1, 1.0, "1"], (1,)),
        ("cat, 0", (0, 1)),
        (Text("1,cat"), (1,)),
        ("traffic light, red", (3,)),
        (Text("traffic light, red"), (3,)),
        (["traffic light, red", "cat"], (1, 3)),
        # A name that looks like an index wins over the index, as text; a number is an index.
        (Text("7"), (4,)),
        (Text("5"), (5,)),
        (4, (4,)),
    ],
)
def test_classes_are_names_or_indices(value: Any, expected: tuple[int, ...] | None) -> None:
    assert ClassNames(NAMES).read(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Text("kat"), r"no class 'kat', did you mean 'cat'\?"),
        ("dog", r"no class 'dog', did you mean 'Dog'\?"),
        ("6", r"no class 6, the last is 5, 'träd'"),
        ("05", r"no class '05' \(known: background"),
        ("cat,dog", r"no class 'dog'"),
        (Text("9" * 5000), r"no class '9{80}'… \(5,000 characters\) \(known: background"),
        (6, r"no class 6, the last is 5, 'träd'"),
        (-1, r"no class -1"),
        (Text("٣"), r"no class '٣'"),
        (1.5, r"1\.5"),
        (True, r"true"),
        ([None], r"null"),
        ([], r"empty"),
        (Text("1," * 50_000), r"50,001 .* 6"),
        (Text("[1, "), r"'\[1, ' is not a JSON list"),
    ],
)
def test_an_unknown_class_is_named(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassNames(NAMES).read(value)


def test_names_that_differ_only_in_case_are_matched_exactly() -> None:
    names = ClassNames(("Cat", "cat"))

    assert (names.read(Text("Cat")), names.read(Text("cat"))) == ((0,), (1,))
    with pytest.raises(ValueError, match="'CAT'"):
        names.read(Text("CAT"))


@pytest.mark.parametrize(
    "names",
    [("a.b", "a|b", " x", "c++", "/", "(d", "e\n", "x, y", "$", "all"), ("", "one"), ("ü", "[z]", "\\d", "1", "0")],
    ids=["punctuation", "empty name", "digits"],
)
@given(data=st.data())
def test_names_of_any_characters_have_an_exact_schema(names: tuple[str, ...], data: st.DataObject) -> None:
    adapter = TypeAdapter[Any](Annotated[Any, ClassNames(names)])
    piece = st.sampled_from([*names, "x", "e", "0", "1", "9", "10", "01", "all", "aXb"])
    lists = st.lists(piece, min_size=1, max_size=11)
    value = data.draw(piece | lists | lists.map(",".join) | lists.map(" , ".join))
    try:
        adapter.validate_python(value)
        accepted = True
    except ValidationError:
        accepted = False

    assert accepted == jsonschema.Draft202012Validator(adapter.json_schema()).is_valid(value)


def test_a_class_named_all_can_be_selected() -> None:
    names = ClassNames(("all", "rest"))

    assert (names.read("all"), names.read(Text("all")), names.read(None)) == ((0,), (0,), None)


IMAGE_NAMES = TypeAdapter[Any](Annotated[str, ImageName(8)])


@given(st.text(st.sampled_from("aÅ猫😀 ./\\:\n\r\t\x00\x7f\x85\u2028\ud83d\ude00"), max_size=10))
def test_image_names_are_accepted_exactly_if_the_schema_accepts_them(name: str) -> None:
    try:
        accepted = IMAGE_NAMES.validate_python(name) == name
    except ValidationError:
        accepted = False

    assert accepted == jsonschema.Draft202012Validator(IMAGE_NAMES.json_schema()).is_valid(name)


@pytest.mark.parametrize(
    "name", ["cat.jpg", "Grüße 猫 😀.JPG", "a/b.png", "../b.png", r"C:\a\b.png", ".jpg", "..a", "...", " "]
)
@pytest.mark.parametrize("kind", [str, Text])
def test_a_file_name_is_kept_unchanged(kind: type[str], name: str) -> None:
    result = ImageName().read(kind(name))

    assert (type(result), result) == (str, name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/", "a/..", "a\\.", "a\n", "\x1b[31m", "\x85", "\u2028", "\ud800", "x" * 256, 5, None]
)
def test_anything_but_a_file_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"is not the name of a file$|is too long$|is not text$"):
        ImageName().read(name)
