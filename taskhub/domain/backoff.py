"""When to try again: exponential backoff with full jitter and a cap.

Full jitter (a uniform draw between zero and the exponential bound) spreads a herd best; see
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_MAX_EXPONENT = 32  # beyond any cap that makes sense; keeps 2**n small


def retry_delay_s(
    failures: int, base_s: float, cap_s: float, draw: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds to wait after failure number `failures` (from 1): a draw from 0 to min(cap, base * 2**(n-1)).

    >>> retry_delay_s(3, base_s=2, cap_s=600, draw=lambda low, high: high)
    8.0
    >>> retry_delay_s(50, base_s=2, cap_s=600, draw=lambda low, high: high)
    600.0
    """
    exponent = min(max(failures - 1, 0), _MAX_EXPONENT)
    return draw(0.0, min(float(cap_s), base_s * 2.0**exponent))


def reconnect_delay_s(
    failures: int,
    base_s: float = 0.1,
    cap_s: float = 5.0,
    draw: Callable[[float, float], float] = random.uniform,
) -> float:
    """Seconds before reconnect number `failures` (from 1): half to the whole of the bound, never zero.

    >>> reconnect_delay_s(1, draw=lambda low, high: low)
    0.05
    """
    bound = min(cap_s, base_s * 2.0 ** min(max(failures - 1, 0), _MAX_EXPONENT))
    return draw(bound / 2, bound)


def jittered_s(seconds: float, draw: Callable[[float, float], float] = random.uniform) -> float:
    """A tenth more or less, so that those who began together do not stay together.

    >>> jittered_s(10, draw=lambda low, high: low)
    9.0
    """
    return seconds * draw(0.9, 1.1)
