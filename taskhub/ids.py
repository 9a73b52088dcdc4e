"""Job ids: UUIDv7 (RFC 9562), made by the submitter, rising within one process.

Time-ordered ids insert at the right edge of the primary key and let the reconciler walk new rows
by id. 48 bits of milliseconds, then 74 bits that start random in each millisecond and only rise.
"""

from __future__ import annotations

import os
import random
import re
import threading
import uuid

from taskhub import clock

_RANDOM_BITS = 74
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_lock = threading.Lock()
_last = 0


def new_ids(count: int) -> list[str]:
    """`count` new ids, rising; also above every id that this process made before."""
    global _last
    with _lock:
        fresh = clock.wall_ms() << _RANDOM_BITS | random.SystemRandom().getrandbits(_RANDOM_BITS - 1)
        current = fresh if fresh > _last else _last
        ids = []
        for _ in range(count):
            current += 1 + random.getrandbits(24)
            ids.append(_format(current))
        _last = current
    return ids


def new_token() -> str:
    """A random UUID for a lease or a worker: names that nobody may guess or order."""
    return str(uuid.uuid4())


def is_id(text: str) -> bool:
    """True for the canonical lower-case form of a UUID."""
    return _UUID.fullmatch(text) is not None


def millis(job_id: str) -> int:
    """The time inside an id, in milliseconds since the Unix epoch."""
    return int(job_id[:8] + job_id[9:13], 16)


def _format(value: int) -> str:
    """The canonical text of a UUIDv7 with 122 free bits `value`."""
    millis, tail = value >> _RANDOM_BITS, value & ((1 << _RANDOM_BITS) - 1)
    high, low = tail >> 62, tail & ((1 << 62) - 1)
    digits = f"{(millis << 16 | 0x7000 | high):016x}{(0x2 << 62 | low):016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _forget_after_fork() -> None:
    global _last, _lock
    _last, _lock = 0, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
