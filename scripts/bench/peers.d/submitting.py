"""The process that submits to one side, with that side's interpreter: orders in, answers out, a line of JSON each.

Run as `python submitting.py MODULE VARIANT`. A peer whose calls are coroutines has them awaited one after the other.
What the peer prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

Answer = dict[str, Any]


class Orders:
    """What the driver may ask for, by the method's name."""

    def __init__(self, side: Any) -> None:
        self._side = side

    async def singles(self, jobs: int, seconds: float) -> Answer:
        """A loop in one thread: as many as come in that time, `jobs` at most."""
        submitted, begin = 0, time.monotonic()
        while submitted < jobs and time.monotonic() - begin < seconds:
            await _done(self._side.submit())
            submitted += 1
        return {"jobs": submitted, "seconds": time.monotonic() - begin}

    async def many(self, jobs: int) -> Answer:
        """All by the call for many."""
        begin = time.monotonic()
        await _done(self._side.submit_many(jobs))
        return {"jobs": jobs, "seconds": time.monotonic() - begin}

    async def steady(self, rate: float, seconds: float) -> Answer:
        """Open loop: when each was meant to be sent, by the wall clock."""
        meant: list[float] = []
        begin = time.time()
        for number in range(int(rate * seconds)):
            meant.append(begin + number / rate)
            time.sleep(max(0.0, meant[-1] - time.time()))
            await _done(self._side.submit_stamp(number))
        return {"meant": meant}

    async def unsettled(self) -> Answer:
        """How many jobs have no outcome yet, by the side's own state."""
        return {"jobs": await _done(self._side.unsettled())}

    async def purge(self) -> Answer:
        """Drop what is left; no worker runs."""
        await _done(self._side.purge())
        await _done(self._side.prepare())
        return {}


async def _done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def main(module_name: str, variant: str, tell: Callable[[Answer], None]) -> None:
    module = importlib.import_module(module_name)
    side = module.Submitting()
    await _done(side.prepare())
    tell(
        {
            "commands": module.commands(variant),
            "version": metadata.version(module.PACKAGE),
            "has_many": hasattr(side, "submit_many"),
        }
    )
    orders = Orders(side)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        tell(await getattr(orders, name)(*arguments))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    asyncio.run(main(sys.argv[1], sys.argv[2], lambda answer: print(json.dumps(answer), file=answers)))
