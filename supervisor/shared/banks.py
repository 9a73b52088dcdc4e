"""Words of the shared memory by their index: the header's, and those of one generation of one slot with its journal."""

from __future__ import annotations

import uuid

from supervisor.shared.layout import (
    B_CONFIRMED,
    B_DEATH,
    B_GENERATION,
    B_JOURNAL_END,
    B_TICK,
    BANK_BYTES,
    JOURNAL_BYTES,
    WORDS_BYTES,
    now_ns,
)


class Words:
    """A run of 8-byte words in the shared memory, readable and writable by index; 16-byte ids by their first word."""

    __slots__ = ("_bytes", "_offset", "_words")

    def __init__(self, view: memoryview, offset: int, size: int) -> None:
        self._bytes = view[offset : offset + size]
        self._words = self._bytes.cast("Q")
        self._offset = offset

    def __getitem__(self, word: int) -> int:
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        self._words[word] = value

    @property
    def raw(self) -> memoryview:
        """The words themselves, for the hot path."""
        return self._words

    @property
    def bytes(self) -> memoryview:
        return self._bytes

    def get_id(self, word: int) -> str | None:
        """The UUID at `word`; None if it is all zeros."""
        raw = bytes(self._bytes[word * 8 : word * 8 + 16])
        return str(uuid.UUID(bytes=raw)) if any(raw) else None

    def set_id(self, word: int, value: str | None) -> None:
        raw = uuid.UUID(value).bytes if value else bytes(16)
        self._bytes[word * 8 : word * 8 + 16] = raw


class Bank(Words):
    """One generation of one slot, and its journal. `number` says which of the slot's banks it is."""

    __slots__ = ("journal", "number", "slot")

    def __init__(self, view: memoryview, slot: int, number: int) -> None:
        super().__init__(view, 0, WORDS_BYTES)
        self.slot = slot
        self.number = number
        self.journal = view[WORDS_BYTES:BANK_BYTES]

    @property
    def generation(self) -> int:
        return self[B_GENERATION]

    @property
    def is_dead(self) -> bool:
        """The parent has reaped this generation."""
        return self[B_DEATH] != 0

    @property
    def is_unconfirmed(self) -> bool:
        """Used, and not yet accounted for."""
        return self[B_GENERATION] != 0 and not self[B_CONFIRMED]

    def journal_bytes(self) -> bytes:
        return bytes(self.journal[: min(self[B_JOURNAL_END], JOURNAL_BYTES)])

    def begin(self, generation: int) -> None:
        """Wipe the bank for a new generation (by the parent, before it forks)."""
        self.bytes[:] = bytes(len(self.bytes))
        self[B_TICK] = now_ns()
        self[B_GENERATION] = generation
