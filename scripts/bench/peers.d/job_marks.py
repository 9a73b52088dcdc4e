"""The files by which a side's jobs are counted and timed."""

from __future__ import annotations

import struct

RAN, STARTED = "ran", "started"  # in the side's folder
RECORD = struct.Struct("=qd")  # number of the job; when it started, by the wall clock
