"""How a setting is declared, as a field with its default, kind and meaning; and read, from a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any, NamedTuple

from taskhub.settings import sources
from taskhub.settings.kinds import Kind

SECRETS = ("database_url", "redis_url")


class Described(NamedTuple):
    """One setting as its documentation shows it."""

    name: str
    default: str
    allowed: str
    meaning: str


def setting(default: str, kind: Kind, meaning: str) -> Any:
    """A field of a dataclass of settings."""
    return field(metadata={"default": default, "kind": kind, "meaning": meaning})


def described(owner: type[Any], prefix: str) -> list[Described]:
    """The settings that `owner` declares, in the order of the code."""
    return [
        Described(prefix + entry.name.upper(), about["default"], about["kind"].allowed, about["meaning"])
        for entry in _settings_of(owner)
        for about in [entry.metadata]
    ]


def parse(
    owner: type[Any], prefix: str, given: Mapping[str, str], defaults: Mapping[str, str], problems: list[str]
) -> dict[str, Any]:
    """The values of `owner`'s settings; a bad one is told in `problems` and replaced by its default."""
    values = {}
    for entry in _settings_of(owner):
        name, kind = prefix + entry.name.upper(), entry.metadata["kind"]
        default = defaults.get(entry.name, entry.metadata["default"])
        text = given.get(name, default)
        try:
            values[entry.name] = kind.parse(text)
        except ValueError as error:
            seen = "" if entry.name in SECRETS else f"={sources.shown(text)}"
            problems.append(f"{name}{seen}: must be {kind.allowed}" + (f"; {error}" if error.args else ""))
            values[entry.name] = None if text == default else kind.parse(default)
    return values


def _settings_of(owner: type[Any]) -> list[Field[Any]]:
    return [entry for entry in fields(owner) if entry.metadata]
