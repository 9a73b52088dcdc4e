"""The one mask over texts that are not ours: drivers' errors, tracebacks.

It knows the passwords that this process uses, each as it is and in every form in which a driver may show it.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus

from taskhub import addresses

_LEAST = 3  # a shorter one would hide half of every text: it is hidden where the value of something stands
_known: tuple[str, ...] = ()
_short: re.Pattern[str] | None = None


def learn(url: str | None) -> None:
    """From now on, hide the passwords in this URL of a server."""
    global _known, _short
    forms = set(_known)
    for secret in addresses.secrets_of(url) if url else ():
        forms |= {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    _known = tuple(sorted(filter(None, forms), key=len, reverse=True))
    short = "|".join(re.escape(form) for form in _known if len(form) < _LEAST)
    _short = re.compile(rf"""(?<=[:='"])(?:{short})(?=[@&'",;)\s]|$)""") if short else None


def masked(text: str) -> str:
    """`text` without any of the passwords in use."""
    for secret in _known:
        if len(secret) >= _LEAST:
            text = text.replace(secret, "***")
    return _short.sub("***", text) if _short else text


def first_line(error: BaseException) -> str:
    """What a driver's error says, in one line, without passwords."""
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])
