"""JSON as taskhub accepts it: what is refused, and that what is accepted comes back as it was."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskhub.domain import strict_json
from taskhub.domain.errors import InvalidInputError, MalformedJsonError, TooDeepError

_REFUSED = {
    "nothing": b"",
    "only space": b" \n\t",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "bytes that are no UTF-8": b'"\xff"',
    "an overlong encoding": b'"\xc0\xaf"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "a name twice": b'{"a":1,"a":1}',
    "a name twice in another spelling": b'{"a":1,"\\u0061":2}',
    "a name twice deep inside": b'[{"x":{"b":1,"b":1}}]',
    "NaN": b"[NaN]",
    "Infinity": b"Infinity",
    "-Infinity": b'{"a":-Infinity}',
    "a float beyond a double": b"1e400",
    "a negative float beyond a double": b"[-1e309]",
    "an integer of 65 bits": b"9223372036854775808",
    "a negative integer of 65 bits": b"-9223372036854775809",
    "a very long integer": b"1" * 100_000,
    "a very long float": b"0." + b"1" * 100_000,
    "half a surrogate pair": b'"\\ud800"',
    "the other half": b'{"\\udfff":1}',
    "halves in the wrong order": b'"\\udc00\\ud800"',
    "a raw control character": b'"\x00"',
    "a raw newline in a string": b'"a\nb"',
    "two values": b"{}{}",
    "a trailing comma": b"[1,]",
    "a comment": b"{}//",
    "single quotes": b"{'a':1}",
    "a bare word": b"nul",
    "a leading zero": b"01",
    "a leading plus": b"+1",
    "hexadecimal": b"0x10",
    "an open string": b'"abc',
    "an open string that ends in a backslash": b'"abc\\',
    "an unknown escape": b'"\\x41"',
    "an open array": b"[1",
    "brackets that do not match": b"[}",
    "a million empty arrays and one": b"[" + b"[]," * 1_000_000 + b"[]]",
}


@pytest.mark.parametrize("data", _REFUSED.values(), ids=_REFUSED.keys())
def test_is_refused_as_malformed(data: bytes) -> None:
    with pytest.raises(MalformedJsonError) as caught:
        strict_json.decode(data)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a" : [1, 2.5, null, true, false, "x"]} ', {"a": [1, 2.5, None, True, False, "x"]}),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b'"\\u0000"', "\x00"),
        (b'"\\\\ud800"', "\\ud800"),
        ('"\N{SNOWMAN}"'.encode(), "\N{SNOWMAN}"),
        (b"1e-400", 0.0),
        (b'{"":{"":1}}', {"": {"": 1}}),
        (b'"[[[{{{"', "[[[{{{"),
        (b'{"\\"[[":"]]\\\\","b":[]}', {'"[[': "]]\\", "b": []}),
    ],
)
def test_is_accepted(data: bytes, value: object) -> None:
    assert strict_json.decode(data) == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    strict_json.decode(opening * 31 + b"[]" + closing * 31)
    with pytest.raises(TooDeepError):
        strict_json.decode(opening * 32 + b"[]" + closing * 32)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'"[' * 500_000,
        b'"\\"' * 300_000,
        b'\\"' * 300_000 + b"[" * 100_000,
        b'"' * 1_000_000,
        b'"[["' * 250_000,
        b"[[]," * 250_000,
        b"([)]" * 250_000,
        b"]" * 1_000_000,
        b"\\" * 1_000_000,
        b"[" + b"1," * 500_000,
        b"1" * 1_000_000,
        b"-" * 1_000_000,
        b'["' + b"\\u0000" * 170_000,
        b"1e" + b"9" * 1_000_000,
    ],
    ids=lambda data: repr(data[:8]),
)
def test_a_hostile_megabyte_is_refused_soon(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(InvalidInputError):
        strict_json.decode(data)
    assert time.process_time() - started < 2.0


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=20,
)


@given(_values)
def test_what_is_accepted_comes_back_as_it_was(value: object) -> None:
    encoded = strict_json.encode(strict_json.decode(json.dumps(value).encode()))
    assert encoded.isascii()
    assert _same(json.loads(encoded), value)
    assert _same(strict_json.decode(json.dumps(value, ensure_ascii=False, indent=1).encode()), value)


@given(_values)
def test_the_canonical_form_does_not_depend_on_the_order_of_names(value: object) -> None:
    mixed = strict_json.decode(json.dumps(_shuffled(value)).encode())
    assert strict_json.canonical(mixed) == strict_json.canonical(strict_json.decode(json.dumps(value).encode()))


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0d8 1e.-\N{SNOWMAN}', max_size=60).map(str.encode))
def test_any_bytes_are_decoded_as_the_standard_does_or_refused(data: bytes) -> None:
    try:
        value = strict_json.decode(data)
    except InvalidInputError:
        return
    assert _same(json.loads(data.decode()), value)


@given(st.text('[]{}"\\ab', max_size=80))
def test_no_depth_beyond_the_limit_reaches_the_parser(text: str) -> None:
    deep = "[" * 33 + text
    with pytest.raises(InvalidInputError):
        strict_json.decode(deep.encode())


def _same(one: object, other: object) -> bool:
    """Equal, also in type: 1 is not 1.0 nor True."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return type(one) is type(other) and one == other


def _shuffled(value: object) -> object:
    if isinstance(value, list):
        return list(map(_shuffled, value))
    if isinstance(value, dict):
        names = list(value)
        random.shuffle(names)
        return {name: _shuffled(value[name]) for name in names}
    return value


@dataclasses.dataclass
class Point:
    x: float
    y: object = None


class Odd(enum.Enum):
    NAN = math.nan


@pytest.mark.parametrize(
    "value",
    [Point(math.nan), [Point(1.0, [Point(math.inf)])], {"a": Odd.NAN}, {"a": None, "b": (1, [-math.inf])}],
    ids=["dataclass", "nested", "enum", "tuple"],
)
def test_what_is_not_finite_is_refused_wherever_it_stands(value: object) -> None:
    with pytest.raises(MalformedJsonError):
        strict_json.encode_foreign(value)


def test_a_null_is_none_of_that() -> None:
    assert strict_json.encode_foreign({"a": [Point(1.5)], "b": "x" * 2**21})[:30] == '{"a":[{"x":1.5,"y":null}],"b":'
