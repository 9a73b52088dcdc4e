"""What a process has only one of, or shares with the processes that it forks; and what has come to it since."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from itertools import islice

from taskhub import clock

_HARMLESS = re.compile(r"/dev/(null|zero|full|u?random|tty)$")
_KINDS = (
    ("socket:", "a socket"),
    ("pipe:", "a pipe"),
    ("anon_inode:[eventpoll]", "an epoll"),
    ("anon_inode:inotify", "an inotify"),
    ("anon_inode:[eventfd", "an eventfd"),
    ("anon_inode:[timerfd]", "a timerfd"),
    ("anon_inode:", "a descriptor"),
    ("/memfd:", "a file in memory"),
)
_LOOKS, _LOOK_S = 20, 0.01
_TOLD = 6  # of a module
_TOLD_CHARACTERS = 120
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


@dataclass(frozen=True)
class Surroundings:
    """At one moment."""

    descriptors: dict[int, str]
    threads: frozenset[int]
    shared: frozenset[str]
    has_children: bool
    settings: dict[str, object]

    @classmethod
    def now(cls) -> Surroundings:
        return cls(_descriptors(), _threads(), _shared_memory(), _has_children(), _settings())

    def left_behind(self) -> list[str]:
        """What is there now and was not before, in words; bounded."""
        now, found = Surroundings.now(), []
        for descriptor, target in now.descriptors.items():
            if self.descriptors.get(descriptor) != target and not _HARMLESS.match(target):
                found.append(f"opens {_kind(target)}")
        if self.descriptors.keys() - now.descriptors.keys():
            found.append("closes a descriptor that is not its own")
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        threads = now.threads - self.threads
        for _ in range(_LOOKS):  # one that has ended, and was joined, may be on its way out of the kernel still
            if threads <= names.keys():
                break
            clock.sleep(_LOOK_S)
            threads &= _threads()
        found += [f"starts a thread ({names.get(thread, 'native')})" for thread in threads]
        if now.has_children and not self.has_children:
            found.append("starts a sub-process")
        if now.shared - self.shared:
            found.append("maps shared memory")
        found += [f"changes {name}" for name, value in now.settings.items() if value != self.settings[name]]
        return [text[:_TOLD_CHARACTERS] for text in islice(dict.fromkeys(found), _TOLD)]


def _kind(target: str) -> str:
    return next((name for start, name in _KINDS if target.startswith(start)), f"the file {target}")


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that lists
            continue
    return found


def _threads() -> frozenset[int]:
    return frozenset(int(name) for name in os.listdir("/proc/self/task"))


def _shared_memory() -> frozenset[str]:
    """The writable mappings that a forked process would share."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return frozenset(line.split()[0] for line in maps if line.split()[1] == "rw-s")


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _settings() -> dict[str, object]:
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "signal handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "the signal mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "timers": [bool(signal.getitimer(timer)[0]) for timer in _TIMERS],
        "the working directory": os.readlink("/proc/self/cwd"),
        "the umask": umask,
        "resource limits": [
            resource.getrlimit(number) for name, number in sorted(vars(resource).items()) if name.startswith("RLIMIT_")
        ],
        "sys.stdout or sys.stderr": (sys.stdout, sys.stderr),
        "the interpreter's switch interval": sys.getswitchinterval(),
    }
