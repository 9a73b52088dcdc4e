"""One pipe a slot: what its children, and programs that they start, write to the descriptors 1 and 2 themselves.

Invariants:
- This process keeps both ends of each for its whole life, also over a re-execution of its program: no writer
  finds its reader gone, whatever becomes of the sidecar, which reads them.
- A child holds its own slot's under 1 and 2 and no other; programs that a handler starts inherit only those.
- Nothing here fails a fork: a slot without a pipe writes where the worker does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import stat
from typing import NamedTuple

from taskhub.logs import get_logger

log = get_logger(__name__)

_LEAST_BYTES, _PIPE_BYTES = 2**16, 2**20  # the first is what a pipe has from the start
_ALL_BYTES = 8 * 2**20  # a user's pipes share a limit, beyond which even small ones are refused their room
_LEFT_DESCRIPTORS = 64  # for everything else that a process opens


class Pipe(NamedTuple):
    """Both ends. The first never blocks, the second does."""

    read: int
    write: int


class OutputPipes:
    """The pipes by slot; a slot keeps its own for ever, whoever its child is."""

    def __init__(self) -> None:
        self._pipes: dict[int, Pipe] = {}
        self._is_logged = False

    @classmethod
    def handed_over(cls, handover: str) -> OutputPipes:
        """Those of this process's earlier program, by the words of its `handover`."""
        outputs = cls()
        for word in handover.split():
            slot, *ends = map(int, word.split(":"))
            pipe = Pipe(*ends)
            if all(_is_pipe(end) for end in pipe):
                for end in pipe:
                    os.set_inheritable(end, False)
                outputs._pipes[slot] = pipe
        return outputs

    def __len__(self) -> int:
        return len(self._pipes)

    @property
    def readers(self) -> dict[int, int]:
        """By slot, the descriptor to read from."""
        return {slot: pipe.read for slot, pipe in self._pipes.items()}

    @property
    def descriptors(self) -> list[int]:
        return [end for pipe in self._pipes.values() for end in pipe]

    def handover(self) -> str:
        """What tells the next program which these are."""
        return " ".join(f"{slot}:{pipe.read}:{pipe.write}" for slot, pipe in self._pipes.items())

    def prepare(self, slot: int, slots: int) -> None:
        """Make this slot's pipe, one of so many, if it has none; tried again for its next child if that fails."""
        if slot in self._pipes:
            return
        try:
            self._pipes[slot] = _new_pipe(max(_LEAST_BYTES, min(_PIPE_BYTES, _ALL_BYTES // max(1, slots))))
        except OSError as error:
            if not self._is_logged:
                self._is_logged = True
                text = f"no pipe ({error.strerror}): what its jobs write to descriptors 1 and 2 is not in the log"
                log.warning("output.unpiped", extra={"slot": slot, "text": text})

    def redirect(self, slot: int) -> None:
        """In a forked child: from here on 1 and 2 lead into this slot's pipe."""
        pipe = self._pipes.get(slot)
        if pipe is not None:
            os.set_blocking(pipe.write, True)  # an earlier child's program may have changed what they share
            for number in (1, 2):
                os.dup2(pipe.write, number)
        for descriptor in self.descriptors:
            os.close(descriptor)


def _new_pipe(size: int) -> Pipe:
    pipe = Pipe(*os.pipe2(os.O_CLOEXEC))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and max(pipe) >= limit - _LEFT_DESCRIPTORS:
        for end in pipe:
            os.close(end)
        raise OSError(0, f"few of {limit} descriptors are left")
    os.set_blocking(pipe.read, False)
    with contextlib.suppress(OSError):  # a smaller one is full sooner, nothing else
        fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, size)
    return pipe


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False
