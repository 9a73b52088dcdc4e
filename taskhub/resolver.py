"""Addresses of a host's name, within a time: the system's own look-up can hang for long, and cannot be ended.

Invariants: the caller waits no longer than it says; at most one look-up of a name is under way in a process, and
who asks meanwhile waits for the same one. No answer is kept.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading


class _LookUp:
    """One call of the system's resolver, in a thread that may be left behind."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_done = threading.Event()
        self.addresses: list[str] = []
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            found = socket.getaddrinfo(self.name, None, type=socket.SOCK_STREAM)
            self.addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        except OSError as error:
            self.error = OSError(f"no address is found for {self.name} ({error.strerror})")
        except UnicodeError:
            self.error = OSError(f"{self.name} is not a host name")
        finally:
            _under_way.pop(self.name, None)
            self.is_done.set()


_under_way: dict[str, _LookUp] = {}
os.register_at_fork(after_in_child=_under_way.clear)  # their threads stayed behind


def resolve(name: str, within_s: float) -> list[str]:
    """The addresses of `name` (or itself), the preferred first. Raises OSError: there is none, or it takes too long."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(name))]
    look_up = _under_way.get(name) or _begun(name)
    if not look_up.is_done.wait(within_s):
        raise TimeoutError(f"the address of {name} was not found in time")
    if look_up.error is not None:
        raise look_up.error
    return look_up.addresses


def _begun(name: str) -> _LookUp:
    look_up = _under_way[name] = _LookUp(name)
    try:
        threading.Thread(target=look_up.run, name="resolver", daemon=True).start()
    except RuntimeError as error:  # no thread can be had
        _under_way.pop(name, None)
        raise OSError(f"cannot look up {name}: {error}") from error
    return look_up
