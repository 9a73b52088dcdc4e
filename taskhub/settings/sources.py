"""Where settings come from: the environment, one file, and files that hold a secret each.

Invariants:
- Nothing here waits and nothing here is large: only regular files are read, up to a bound.
- What Kubernetes puts into the environment for its services is nobody's setting (`links`).
- No value is shown that is secret, and none that could disturb the terminal or the log that it is shown in.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Mapping

from taskhub.settings.kinds import NOTHING, parse_path

PREFIX = "TASKHUB_"
ENV_FILE = PREFIX + "ENV_FILE"

_ENV_FILE_BYTES = 1 << 20
_SECRET_BYTES = 1 << 16
_SHOWN = 80
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_LINK_NAME = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?)"
)


def replaced(environ: Mapping[str, str], given: Mapping[str, str | None]) -> Mapping[str, str]:
    """`environ` with the settings in `given`, by field name, instead of its own."""
    values = {PREFIX + name.upper(): value for name, value in given.items() if value is not None}
    hidden = {form for name in values for form in (name, f"{name}_FILE")}
    return {**{name: value for name, value in environ.items() if name not in hidden}, **values}


def read(environ: Mapping[str, str], secrets: tuple[str, ...], problems: list[str]) -> dict[str, str]:
    """What the environment and its file set, by full name, secrets read from their files."""
    given = _own(environ, problems)
    path = given.get(ENV_FILE)
    from_file = _own(_env_file(None if path is None or _LINK_VALUE.match(path) else path, problems), problems)
    for secret in secrets:
        forms = (secret, f"{secret}_FILE")
        if any(form in given for form in forms):
            from_file = {name: value for name, value in from_file.items() if name not in forms}
    merged = {**from_file, **given}
    for secret in secrets:
        _read_secret(merged, secret, problems)
    return merged


def links(given: Mapping[str, str], known: set[str], secrets: tuple[str, ...]) -> list[str]:
    """The names that come from Kubernetes' service links: by their value, or by a name that is no setting's."""
    return sorted(
        name
        for name, value in given.items()
        if name not in secrets and (_LINK_VALUE.match(value) or (name not in known and _LINK_NAME.fullmatch(name)))
    )


def shown(text: str) -> str:
    """A value for people's eyes: one line, no control characters, not endless."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text[:_SHOWN])
    return plain + ("..." if len(text) > _SHOWN else "")


def _own(environ: Mapping[str, str | None], problems: list[str]) -> dict[str, str]:
    own = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or not value or not value.strip():
            continue
        if _is_text(name) and _is_text(value):
            own[name] = value.strip()
        else:
            problems.append(f"{shown(name)}: must be UTF-8 text without NUL")
    return own


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _env_file(path: str | None, problems: list[str]) -> dict[str, str | None]:
    if path is None or path.lower() in NOTHING:
        return {}
    from dotenv import dotenv_values  # takes longer to import than all settings: most programs have no such file

    try:
        return dotenv_values(stream=io.StringIO(_text_of(path, _ENV_FILE_BYTES)), interpolate=False)
    except ValueError as error:
        problems.append(f"{ENV_FILE}={shown(path)}: {error}")
        return {}


def _read_secret(given: dict[str, str], name: str, problems: list[str]) -> None:
    """Replace `<name>_FILE` by the secret in that file."""
    path = given.pop(f"{name}_FILE", None)
    if path is None:
        return
    if name in given:
        problems.append(f"{name} and {name}_FILE are both set: keep one")
        return
    try:
        given[name] = _text_of(path, _SECRET_BYTES).strip()
        if not given[name]:
            raise ValueError("the file is empty")
    except ValueError as error:
        problems.append(f"{name}_FILE={shown(path)}: {error}")


def _text_of(path: str, most_bytes: int) -> str:
    """The text of a regular file, without a byte order mark. Raises ValueError, which says why there is none."""
    descriptor = -1
    try:
        descriptor = os.open(parse_path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    if len(content) > most_bytes:
        raise ValueError(f"larger than {most_bytes} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not a readable UTF-8 file") from None
    if "\0" in text:
        raise ValueError("not a readable UTF-8 file")
    return text
