"""How often a client asks again what a broker refused because it has too much to do: a budget, as in gRPC's retry throttling (gRFC A6, "Throttling Retry Attempts").

Clients that all ask again keep an overloaded broker overloaded: with N tries a call, N times the load comes when it can be borne least (Beyer et al., "Site Reliability
Engineering", 2016, chapter 22). A refusal costs a token, an answer gives RATIO of one back, and nothing is asked again while no more than half of the tokens are there.
So over a long time a client sends at most 1 + RATIO times what its callers asked for, and a short trouble is still bridged for them.
"""

import random

TOKENS = 10.0
RATIO = 0.1
LEAST_S = 0.01
"""Whoever is told to come back at once does not ask without a pause."""
JITTER = 0.5
"""Share of the broker's delay that may come on top of it, so that those who were refused together do not come back together."""


class RetryBudget:
    """One client's, for one event loop. What is counted are messages, however many jobs are in them: they are what costs a broker that refuses."""

    def __init__(self) -> None:
        self._tokens = TOKENS

    def answered(self) -> None:
        """The broker did what was asked."""
        self._tokens = min(TOKENS, self._tokens + RATIO)

    def refused(self) -> bool:
        """The broker has too much to do; returns whether it may be asked again."""
        self._tokens = max(0.0, self._tokens - 1)
        return self._tokens > TOKENS / 2


def pause_s(retry_after_s: float) -> float:
    """When to ask again that was told to come back after so many seconds: not sooner, and not all at once."""
    return max(LEAST_S, retry_after_s) * (1 + JITTER * random.random())
