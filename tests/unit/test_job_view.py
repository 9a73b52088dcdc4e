"""How a job is shown."""

from __future__ import annotations

import pytest

from taskhub.domain.job_view import moment


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2030-01-31 12:00:00+00", "2030-01-31T12:00:00Z"),
        ("2030-01-31 12:00:00.000001+00", "2030-01-31T12:00:00.000001Z"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("294276-01-01 00:00:00+00", "294276-01-01 00:00:00+00"),
        ("4713-01-01 00:00:00+00 BC", "4713-01-01 00:00:00+00 BC"),
    ],
)
def test_a_time_that_only_sql_can_write_is_shown_as_it_is_written_there(text: str, shown: str) -> None:
    assert moment(text) == shown
