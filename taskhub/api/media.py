"""Which bodies the API reads: JSON in UTF-8, as it is. Imported before the fork, so by itself."""

from __future__ import annotations

from werkzeug.http import parse_options_header


def unfitness(content_type: str, coding: str) -> str | None:
    """Why a body with these headers is not read, or None."""
    if content_type != "application/json":
        kind, parameters = parse_options_header(content_type)
        if kind.lower() != "application/json" or parameters.get("charset", "utf-8").lower() != "utf-8":
            return "Content-Type must be application/json, in UTF-8"
    if coding.lower() != "identity":
        return "Content-Encoding is not supported: send the JSON itself"
    return None
