"""The journal: what is noted is read back, up to where the process died."""

from __future__ import annotations

import struct
import uuid
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from taskhub.domain.journal import journal_entry, read_journal, undated
from taskhub.domain.outcome import Committed, Completed, Failed, Outcome

ids = st.uuids().map(str)
times = st.floats(0, 1e9)
texts = st.text(max_size=10)
completed = st.builds(Completed, ids, st.none() | st.just('{"a":"ü"}') | st.just("null"), times, times)
committed = st.builds(Committed, ids, times, times)
failed = st.builds(
    Failed,
    ids,
    texts,
    texts,
    texts,
    st.none() | times,
    st.none() | texts,
    times,
    times,
    st.none(),
    *[st.none() | texts] * 2,
)


def entry(outcome: Outcome) -> bytes:
    return journal_entry(outcome, uuid.UUID(outcome.id).bytes)


@settings(max_examples=50)
@given(st.lists(completed | failed | committed, max_size=5))
def test_what_was_noted_is_read_back_in_order(outcomes: list[Outcome]) -> None:
    assert list(read_journal(b"".join(map(entry, outcomes)))) == outcomes


def test_a_failure_noted_by_an_older_version_is_read_without_its_traceback() -> None:
    body = b'["E","m","exception",2.0,null]'
    noted = struct.pack("<IB16sdd", len(body), 2, uuid.UUID(JOB).bytes, 1.0, 2.0) + body
    known = Failed(JOB, "E", "m", "exception", 2.0, None, 1.0, 2.0)
    assert list(read_journal(struct.pack("<I", zlib.crc32(noted)) + noted)) == [known]


def test_an_empty_journal_tells_nothing() -> None:
    assert list(read_journal(b"")) == []


def test_a_null_result_and_a_result_of_null_text_differ() -> None:
    job = str(uuid.uuid4())
    noted = [Completed(job, None, 1.0, 2.0), Completed(job, "null", 1.0, 2.0)]
    assert list(read_journal(b"".join(map(entry, noted)))) == noted


JOB = str(uuid.uuid4())
ENTRIES = [
    entry(Completed(JOB, '{"a":1}', 1.0, 2.0)),
    entry(Failed(JOB, "E", "m", "exception", 2.0, None, 1.0, 2.0)),
    entry(Completed(JOB, None, 3.0, 4.0)),
    entry(Committed(JOB, 5.0, 6.0)),
]
JOURNAL = b"".join(ENTRIES)


def test_a_journal_that_was_cut_tells_what_was_whole() -> None:
    whole = list(read_journal(JOURNAL))
    ends = [sum(map(len, ENTRIES[:count])) for count in range(len(ENTRIES) + 1)]
    for cut in range(len(JOURNAL)):
        assert list(read_journal(JOURNAL[:cut])) == whole[: sum(cut >= end for end in ends) - 1]


def test_a_flipped_bit_ends_the_journal_before_its_entry() -> None:
    whole = list(read_journal(JOURNAL))
    for bit in range(len(JOURNAL) * 8):
        damaged = bytearray(JOURNAL)
        damaged[bit // 8] ^= 1 << bit % 8
        entries_before = sum(bit // 8 >= len(b"".join(ENTRIES[: count + 1])) for count in range(len(ENTRIES)))
        assert list(read_journal(bytes(damaged))) == whole[:entries_before]


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_anything_at_all_can_be_read(journal: bytes) -> None:
    assert list(read_journal(journal)) == []
    assert list(read_journal(ENTRIES[0] + journal))[:1] == list(read_journal(ENTRIES[0]))


def test_a_matching_checksum_over_nonsense_is_not_believed_either() -> None:
    for body, kind in ((b"\xff\xfe", 1), (b"[1", 2), (b"[1]", 2), (b"3", 2), (b"{}", 9)):
        head = struct.pack("<IB16sdd", len(body), kind, bytes(16), 1.0, 2.0) + body
        assert list(read_journal(struct.pack("<I", zlib.crc32(head)) + head)) == []


def test_of_an_outcome_from_before_the_boot_only_its_duration_is_known() -> None:
    assert undated(Completed(JOB, None, 1e9, 1e9 + 5), 100.0) == Completed(JOB, None, 95.0, 100.0)
    assert undated(Completed(JOB, None, 5.0, 1.0), 100.0) == Completed(JOB, None, 100.0, 100.0)
