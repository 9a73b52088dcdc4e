"""A file of counts: in the library's format, on a disk that may be full, gone or not ours."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from taskhub import clock
from taskhub.metrics import counts_file
from taskhub.metrics.counts_file import CountsFile


def counted(path: Path) -> dict[str, float]:
    """What the library reads from the file."""
    entries = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
    return {key: value for key, value, _, _ in entries}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "counter_w0.db"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Added to the clock: the first element."""
    offset, real = [0.0], clock.monotonic_s
    monkeypatch.setattr(clock, "monotonic_s", lambda: real() + offset[0])
    return offset


def test_the_library_reads_what_was_written_and_the_next_process_goes_on(path: Path) -> None:
    keys = {f"key-{number}" * (1 + number % 9): float(number) for number in range(2000)}
    first = CountsFile(str(path))
    for key, value in keys.items():
        assert first.read_value(key) == (0.0, 0.0)
        first.write_value(key, value, 0.0)
    first.close()
    assert counted(path) == keys
    second = CountsFile(str(path))
    assert {key: second.read_value(key)[0] for key in keys} == keys


def test_no_part_of_a_mapped_file_is_a_hole(path: Path) -> None:
    file = CountsFile(str(path))
    for number in range(500):
        file.read_value(f"key-{number}" * 10)
        stat = path.stat()
        assert stat.st_blocks * 512 >= stat.st_size


def test_without_room_old_counts_go_on_in_the_file_and_new_ones_in_memory_until_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, later: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    file = CountsFile(str(path))
    file.write_value("old", 1.0, 0.0)

    def no_room(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_room)
        for number in range(300):
            file.write_value(f"new-{number}" * 20, 1.0, 0.0)
            file.write_value(f"new-{number}" * 20, 2.0, 0.0)
        file.write_value("old", 5.0, 0.0)
        assert file.read_value("new-299" * 20) == (2.0, 0.0)
        assert counted(path)["old"] == 5.0
        assert len(counted(path)) < 301
    later[0] = counts_file._AGAIN_S + 1
    for number in range(300):
        file.write_value(f"new-{number}" * 20, 3.0, 0.0)
    assert len(counted(path)) == 301
    assert set(counted(path).values()) == {5.0, 3.0}
    assert [record.message.partition(":")[0] for record in caplog.records] == ["metrics.unwritable"]


def test_a_folder_that_is_away_is_made_again_and_one_that_cannot_be_is_done_without(
    path: Path, later: list[float]
) -> None:
    path.parent.write_text("not a folder")
    file = CountsFile(str(path))
    file.write_value("key", 1.0, 0.0)
    assert file.read_value("key") == (1.0, 0.0)
    path.parent.unlink()
    later[0] = counts_file._AGAIN_S + 1
    file.write_value("key", 2.0, 0.0)
    assert counted(path) == {"key": 2.0}


@pytest.mark.parametrize("content", [b"\xff\xff\xff\x7f" * 10, b"\x40\x00\x00\x00" + b"\x01" * 60, b"\xff" * 40_000])
def test_a_damaged_file_is_not_counted_into(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    file = CountsFile(str(path))
    file.write_value("key", 1.0, 0.0)
    assert file.read_value("key") == (1.0, 0.0)
    assert path.read_bytes()[: len(content)] == content
