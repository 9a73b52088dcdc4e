"""The journal: what is noted is read back, up to where the process died."""

from __future__ import annotations

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from taskhub.domain.outcome import Completed, Failed, Outcome, journal_entry, read_journal

ids = st.uuids().map(str)
times = st.floats(0, 1e9)
texts = st.text(max_size=10)
completed = st.builds(Completed, ids, st.none() | st.just('{"a":"ü"}') | st.just("null"), times, times)
failed = st.builds(Failed, ids, texts, texts, texts, st.none() | times, st.none() | texts, times, times, st.none())


def entry(outcome: Outcome) -> bytes:
    return journal_entry(outcome, uuid.UUID(outcome.id).bytes)


@settings(max_examples=50)
@given(st.lists(completed | failed, max_size=5))
def test_what_was_noted_is_read_back_in_order(outcomes: list[Outcome]) -> None:
    assert list(read_journal(b"".join(map(entry, outcomes)))) == outcomes


def test_an_empty_journal_tells_nothing() -> None:
    assert list(read_journal(b"")) == []


def test_a_null_result_and_a_result_of_null_text_differ() -> None:
    job = str(uuid.uuid4())
    noted = [Completed(job, None, 1.0, 2.0), Completed(job, "null", 1.0, 2.0)]
    assert list(read_journal(b"".join(map(entry, noted)))) == noted
