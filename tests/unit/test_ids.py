"""Ids are UUIDv7: of their moment, rising, unique over threads and forks."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

from taskhub import clock, failpoints, ids


def test_an_id_is_a_uuid_of_version_7_and_the_present_millisecond() -> None:
    before = clock.wall_ms()
    made = uuid.UUID(ids.new_ids(1)[0])
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= clock.wall_ms()


def test_ids_rise_in_one_batch_and_from_batch_to_batch() -> None:
    made = ids.new_ids(2_000) + [ids.new_ids(1)[0] for _ in range(2_000)] + ids.new_ids(10)
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_rise_even_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ids.new_ids(1)[0]
    monkeypatch.setattr(clock, "wall_ms", lambda: 1_000)
    assert ids.new_ids(1)[0] > first


def test_the_wall_clock_can_be_moved_by_a_failpoint() -> None:
    now = clock.wall_ms()
    failpoints.arm("clock.wall=value:-600")
    assert abs(clock.wall_ms() - now + 600_000) < 5_000


def test_threads_never_make_the_same_id() -> None:
    made: list[list[str]] = []
    threads = [threading.Thread(target=lambda: made.append(ids.new_ids(500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job for batch in made for job in batch}) == 4_000


def test_a_forked_process_makes_ids_of_its_own() -> None:
    ids.new_ids(1)[0]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, " ".join(ids.new_ids(100)).encode())
        os._exit(0)
    os.close(writer)
    mine = ids.new_ids(100)
    with os.fdopen(reader) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)
    assert len(theirs) == 100
    assert not set(mine) & set(theirs)


def test_a_token_is_random() -> None:
    assert uuid.UUID(ids.new_token()).version == 4
    assert ids.new_token() != ids.new_token()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("01890a5d-ac96-774b-bcce-b302099a8057", True),
        ("01890A5D-AC96-774B-BCCE-B302099A8057", False),
        ("01890a5dac96774bbcceb302099a8057", False),
        ("01890a5d-ac96-774b-bcce-b302099a8057\n", False),
        ("{01890a5d-ac96-774b-bcce-b302099a8057}", False),
        ("", False),
        ("x" * 36, False),
    ],
)
def test_only_the_canonical_form_is_an_id(text: str, is_one: bool) -> None:
    assert ids.is_id(text) is is_one
