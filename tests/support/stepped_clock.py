"""Another time for single processes: a library before libc adds an offset, which a test changes while they run, to what they are told of the time of day."""

import os
from pathlib import Path

from tests.support import needs


class SteppedClock:
    """Steps the time of day of processes that were started with `environment`; their monotonic clocks, and everybody else, notice nothing."""

    def __init__(self, file: Path) -> None:
        self._library = needs.libfaketime()
        self._file = file
        self.step(0)
        file.chmod(0o644)

    @property
    def environment(self) -> dict[str, str]:
        """For the processes whose time is stepped."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # The library's guess, for this libc, is to take a time of the monotonic clock for one of the other clock: whoever waits for Python's lock waits not at
            # all then, and two busy threads, as an agent has them, pass it to each other without end.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def step(self, seconds: int) -> None:
        """From now on (a second later at most) the time is so much later than it is."""
        part = self._file.with_name(self._file.name + ".new")
        part.write_text(f"{seconds:+d}")
        part.chmod(0o644)
        os.replace(part, self._file)
