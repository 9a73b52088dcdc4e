"""A handler's result as JSON text, of at most `MAX_JSON_BYTES`."""

from __future__ import annotations

from typing import Any

import orjson

from taskhub.domain.storable import MAX_JSON_BYTES, plain, text

_FEW, _SHORT = 64, 4096


def json_text(value: object) -> str:
    """A value as strict JSON. Raises ValueError if it has none, or is too large."""
    nulls = _nulls_if_simple(value)
    try:
        encoded = b"" if nulls is None else orjson.dumps(value)
        if encoded.count(b"null") != nulls:  # not simple; or another thread has put NaN there meanwhile
            encoded = orjson.dumps(plain(value, MAX_JSON_BYTES))
    except (TypeError, RecursionError) as error:
        raise ValueError(text(error, 300)) from None
    if len(encoded) > MAX_JSON_BYTES:
        raise ValueError(f"{len(encoded)} bytes of JSON are more than {MAX_JSON_BYTES}")
    return encoded.decode()


def _nulls_if_simple(value: Any) -> int | None:
    """How many nulls the JSON of a value has that needs no copy: a few short scalars, perhaps in one dict or list."""
    kind = type(value)
    items = value.values() if kind is dict else value if kind is list else (value,)
    nulls = 0
    if len(items) > _FEW:
        return None
    try:
        for item in items:
            kind = type(item)
            if item is None:
                nulls += 1
            elif kind is str:
                if len(item) > _SHORT:
                    return None
            elif not (kind is int or kind is bool or (kind is float and item - item == 0.0)):
                return None
    except RuntimeError:  # another thread changes it
        return None
    return nulls
