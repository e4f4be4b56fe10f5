"""Times on the wire."""

from datetime import UTC, datetime

import pytest
from headrace_proto.wire import to_datetime, to_timestamp


@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_time_goes_over_the_wire_to_the_microsecond_up_to_the_last_there_is(at: datetime) -> None:
    assert to_datetime(to_timestamp(at)) == at
