"""A text that does not compress: PostgreSQL compresses what is large, and a row of one letter would cost nothing."""

from __future__ import annotations

import base64
import random


def sample_text(size: int) -> str:
    """So many letters and digits, the same each time."""
    return base64.b64encode(random.Random(size).randbytes(size))[:size].decode()
