"""The one mask over texts that are not ours: drivers' errors, tracebacks.

It knows the passwords that this process uses, each as it is and in every form in which a driver may show it.
"""

from __future__ import annotations

from urllib.parse import quote, quote_plus

from taskhub import addresses

_LEAST = 3  # a shorter one is no secret, and would hide half of every text
_known: tuple[str, ...] = ()


def learn(url: str | None) -> None:
    """From now on, hide the passwords in this URL of a server."""
    global _known
    forms = set(_known)
    for secret in addresses.secrets_of(url) if url else ():
        forms |= {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    _known = tuple(sorted((form for form in forms if len(form) >= _LEAST), key=len, reverse=True))


def masked(text: str) -> str:
    """`text` without any of the passwords in use."""
    for secret in _known:
        text = text.replace(secret, "***")
    return text


def first_line(error: BaseException) -> str:
    """What a driver's error says, in one line, without passwords."""
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])
