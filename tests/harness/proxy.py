"""A proxy between a client and a server's socket that can do what networks do, at a chosen message.

Invariants: one thread serves all links; what a rule waits for is looked for in what clients send; each rule
acts once. Rules see whole messages only while these are small, as statements and commands are.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

LOSE_ANSWER, LOSE_REQUEST, HOLD = "lose_answer", "lose_request", "hold"
_CHUNK = 1 << 20
_TURN_S = 0.05
_EXECUTE = re.compile(rb"EXECUTE (\w+)")
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Rule:
    """What happens to the next message that contains `pattern`; `happened` once it has."""

    kind: str
    pattern: bytes
    happened: bool = False
    held: bytes = b""
    server: socket.socket | None = None

    def wait(self, deadline_s: float = 10) -> None:
        wait_until(lambda: self.happened, deadline_s, f"{self.kind} {self.pattern!r}")

    def release(self) -> None:
        """Deliver the held message, as a network that was slow would; whoever sent it may be gone."""
        assert self.server is not None
        self.server.sendall(self.held)


@dataclass
class _Link:
    client: socket.socket
    server: socket.socket
    losing: Rule | None = None
    is_held: bool = False

    def close(self, *, reset: bool = False) -> None:
        if reset:
            with contextlib.suppress(OSError):
                self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client.close()
        if not self.is_held:
            self.server.close()


class Proxy:
    """Listens on a TCP port of this host and leads to the unix socket `upstream`."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._links: list[_Link] = []
        self._rules: list[Rule] = []
        self._is_hole = False
        self._is_ending = False
        self.statements: Counter[str] = Counter()  # executed by name, for a proxy before PostgreSQL
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def lose_answer(self, pattern: bytes) -> Rule:
        """The message arrives and is acted on; its answer is lost, and the connection with it."""
        return self._add(Rule(LOSE_ANSWER, pattern))

    def lose_request(self, pattern: bytes) -> Rule:
        """The message never arrives, and the connection is lost."""
        return self._add(Rule(LOSE_REQUEST, pattern))

    def hold(self, pattern: bytes) -> Rule:
        """The message does not arrive until `Rule.release`."""
        return self._add(Rule(HOLD, pattern))

    def become_hole(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._is_hole = True

    def pass_again(self) -> None:
        self._is_hole = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        self._thread.join(5)
        self._listener.close()
        for link in self._links:
            link.is_held = False
            link.close()
        for rule in self._rules:
            if rule.server is not None:
                rule.server.close()

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    def _serve(self) -> None:
        while not self._is_ending:
            if self._is_hole:
                wait_until(lambda: self._is_ending or not self._is_hole, 3600, "the hole ends")
                continue
            links = {end: link for link in self._links for end in (link.client, link.server)}
            try:
                ready, _, _ = select.select([self._listener, *links], [], [], _TURN_S)
            except (OSError, ValueError):  # an end was closed in the meantime
                continue
            for end in ready:
                if self._is_hole:
                    break
                if end is self._listener:
                    self._accept()
                elif links[end] in self._links:
                    self._move(links[end], end)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._upstream)
        except OSError:
            server.close()
            client.close()
            return
        self._links.append(_Link(client, server))

    def _move(self, link: _Link, end: socket.socket) -> None:
        try:
            data = end.recv(_CHUNK)
            if not data:
                self._drop(link)
            elif end is link.client:
                self._to_server(link, data)
            elif link.losing is not None:
                link.losing.happened = True
                self._drop(link, reset=True)
            else:
                link.client.sendall(data)
        except OSError:
            self._drop(link)

    def _to_server(self, link: _Link, data: bytes) -> None:
        self.statements.update(name.decode() for name in _EXECUTE.findall(data))
        if link.is_held:
            return  # what was sent after the held message is not on time either
        rule = next((r for r in self._rules if not r.happened and r.server is None and r.pattern in data), None)
        if rule is None:
            link.server.sendall(data)
        elif rule.kind == LOSE_REQUEST:
            rule.happened = True
            self._drop(link, reset=True)
        elif rule.kind == LOSE_ANSWER:
            link.losing = rule
            link.server.sendall(data)
        else:
            rule.held, rule.server, link.is_held = data, link.server, True
            rule.happened = True

    def _drop(self, link: _Link, *, reset: bool = False) -> None:
        self._links.remove(link)
        link.close(reset=reset)
