"""The Lua scripts, read once from the files beside this module."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import NoScriptError

_FOLDER = Path(__file__).with_name("scripts")


@dataclass(frozen=True)
class Script:
    """One script: EVALSHA, and EVAL only where the server does not know it yet."""

    name: str
    source: str
    sha: str

    def __call__(self, client: redis.Redis, keys: list[str], arguments: list[Any]) -> Any:
        try:
            return client.evalsha(self.sha, len(keys), *keys, *arguments)
        except NoScriptError:  # says that nothing was executed, so sending it whole is safe
            return client.eval(self.source, len(keys), *keys, *arguments)


def load_all() -> None:
    """Read every script now: from here on none of the files is needed."""
    for file in _FOLDER.glob("*.lua"):
        script(file.stem)


@cache
def script(name: str) -> Script:
    """The script in `scripts/<name>.lua`."""
    source = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
