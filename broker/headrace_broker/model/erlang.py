"""How long work waits for one of several servers, and how many servers a wished wait asks for.

The model is M/M/c: arrivals at random, running times exponential, one queue. Formulas: A. K. Erlang, "Solution of some problems in the theory of probabilities of
significance in automatic telephone exchanges" (1917), as in D. Gross et al., "Fundamentals of Queueing Theory", 4th ed. (2008), section 2.3. Above EXACT erlangs, where
adding up server by server takes long and tells no more, by the limit of many servers: S. Halfin, W. Whitt, "Heavy-traffic limits for queues with many exponential
servers", Operations Research 29 (1981).
"""

import math

MOST_SERVERS = 1_000_000
EXACT = 2_000.0


def wait_probability(servers: int, load: float) -> float:
    """Erlang C: the share of arrivals that have to wait. `load`: arrivals per second times seconds of work each, in erlangs; 1.0 when it is not below `servers`."""
    if servers <= load:
        return 1.0
    if load > EXACT:
        return _of_many((servers - load) / math.sqrt(load))
    first, blocked = _start(load)
    for n in range(first + 1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
        if not blocked:
            break
    return blocked / (1.0 - (load / servers) * (1.0 - blocked))


def mean_wait_s(servers: int, load: float, work_s: float) -> float | None:
    """The mean wait in seconds when each piece of work takes `work_s`; None: the queue grows without end."""
    if servers <= load:
        return None
    return wait_probability(servers, load) * work_s / (servers - load)


def servers_needed(load: float, work_s: float, wished_wait_s: float) -> int:
    """The fewest servers whose mean wait is at most `wished_wait_s`, at least one. More than MOST_SERVERS are not looked for."""
    low = max(1, int(load) + 1)
    if load > EXACT:
        return _many_needed(low, load, work_s, wished_wait_s)
    first, blocked = _start(load)
    for n in range(first + 1, MOST_SERVERS + 1):
        blocked = load * blocked / (n + load * blocked)
        if n >= low:
            waits = blocked / (1.0 - (load / n) * (1.0 - blocked))
            if waits * work_s / (n - load) <= wished_wait_s:
                return n
    return MOST_SERVERS


def _start(load: float) -> tuple[int, float]:
    """(n, about Erlang B of n servers), from where its recursion, which neither overflows nor cancels, may start.

    A step leaves n/load of an error of its inverse, so that less than exp(-8 * 8 / 2) of this one is left where n reaches the load.
    """
    first = max(0, int(load - 8 * math.sqrt(load)))
    return first, 1.0 - first / load if first else 1.0


def _many_needed(low: int, load: float, work_s: float, wished_wait_s: float) -> int:
    """By halving what lies between the fewest that keep up and so many that nothing waits."""
    high = min(MOST_SERVERS, low + int(40 * math.sqrt(load)))
    while low < high:
        middle = (low + high) // 2
        wait_s = mean_wait_s(middle, load, work_s)
        if wait_s is not None and wait_s <= wished_wait_s:
            high = middle
        else:
            low = middle + 1
    return min(low, MOST_SERVERS)


def _of_many(spare: float) -> float:
    """The share that waits of very many servers; `spare`: how many there are above the load, in its square roots."""
    if spare > 30:
        return 0.0
    below = 0.5 * math.erfc(-spare / math.sqrt(2))
    return 1.0 / (1.0 + spare * below * math.sqrt(2 * math.pi) * math.exp(spare * spare / 2))
