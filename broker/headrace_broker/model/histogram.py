"""Durations counted in buckets whose bounds grow by a constant factor, so that histograms of any two periods, types or brokers add up.

Bucket b holds durations from 2^(b/4) to 2^((b+1)/4) milliseconds (the exponential histogram of OpenTelemetry at scale 2); 0 holds all below. A percentile read from it
is off by at most 9 % (half a bucket).
"""

import math
from collections.abc import Iterable, Mapping

STEPS = 4  # buckets for each doubling
LAST = 160  # about 13 days; longer ones too

Counts = dict[int, int]
"""Bucket -> how many."""


def bucket_of(seconds: float) -> int:
    """The bucket of a duration."""
    ms = seconds * 1000.0
    return min(LAST, int(math.log2(ms) * STEPS)) if ms > 1.0 else 0


def upper_s(bucket: int) -> float:
    """The duration in seconds that a bucket ends at."""
    return float(2.0 ** ((bucket + 1) / STEPS)) / 1000.0


def add(into: Counts, other: Mapping[int, int]) -> None:
    """Adds one histogram to another."""
    for bucket, count in other.items():
        into[bucket] = into.get(bucket, 0) + count


def total(histograms: Iterable[Mapping[int, int]]) -> Counts:
    """The sum of histograms."""
    found: Counts = {}
    for histogram in histograms:
        add(found, histogram)
    return found


def percentile_s(counts: Mapping[int, int], share: float) -> float | None:
    """The duration in seconds that `share` (0 to 1) of what was counted stays below; None: nothing was counted.

    Within its bucket the duration is interpolated on the logarithmic scale.
    """
    size = sum(counts.values())
    if not size:
        return None
    rank = share * size
    for bucket in sorted(counts):
        if rank <= counts[bucket]:
            return float(2.0 ** ((bucket + rank / counts[bucket]) / STEPS)) / 1000.0
        rank -= counts[bucket]
    return upper_s(max(counts))
