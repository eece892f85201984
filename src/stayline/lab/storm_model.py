"""What a reconnect storm looks like on paper: clients, first-come-first-served proxies and their patience. Pure.

The model beside which ``stayline lab storm`` draws what really happened. One proxy serves one set-up after the other,
each for the same time; a client that waits longer than its patience leaves. Every time is in seconds since everybody
was told to move.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

Random = Callable[[], float]
"""Gives numbers in [0, 1)."""

_NOTICED_SECONDS = 0.0001
"""What it costs a proxy to find that a waiting client has left."""

_ANSWER_SECONDS = 0.0002
"""What it costs a guiding proxy to say "not now, but then"."""

_GUIDED_WAIT = 1.0
"""A guiding proxy lets a client wait this long at most; others get a time to come back."""

_GUIDED_JITTER = 0.5


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How clients and proxies behave. ``window``: first attempts are spread over it; ``patience``: a client leaves
    after it; ``pause``: between two rounds over all proxies. ``noticed``: a proxy does no work for who has left.
    ``guided``: who would wait long is told when to come back, and does."""

    name: str
    window: float = 5.0
    patience: float = 5.0
    pause: float = 10.0
    noticed: bool = True
    guided: bool = False


ORIGINAL = Policy(name="original constants, as modelled")
"""Everybody within five seconds, the next proxy at once, ten seconds after a round; leaving is noticed."""

ORIGINAL_UNNOTICED = Policy(name="the same with proxies that serve whoever has left", noticed=False)

GUIDED = Policy(name="told when to come, as modelled", guided=True)


@dataclass(frozen=True, kw_only=True)
class Modelled:
    """``back``: when each client that got in was in, in order; ``given_up``: how often one left before it was served;
    ``capped``: not everybody was in at the end of the simulated time."""

    policy: Policy
    back: tuple[float, ...]
    given_up: int
    capped: bool


@dataclass
class _Proxy:
    """``busy_until``: when everything taken so far is served; ``promised``: the last time given to anybody."""

    busy_until: float = 0.0
    promised: float = 0.0


@dataclass(slots=True)
class _Client:
    order: list[int]
    tried: int = 0


def simulate(
    policy: Policy, *, agents: int, cost: float, proxies: int, random: Random, cap: float = 600.0
) -> Modelled:
    """Play it. ``cost``: seconds of a proxy for one set-up; ``cap``: end of the simulated time."""
    servers = [_Proxy() for _ in range(proxies)]
    clients = [_Client(_shuffled(proxies, random)) for _ in range(agents)]
    numbers = itertools.count()
    coming = [(policy.window * random(), next(numbers), client) for client in clients]
    heapq.heapify(coming)
    back: list[float] = []
    given_up = 0
    while coming and coming[0][0] <= cap:
        now, _, client = heapq.heappop(coming)
        proxy = servers[client.order[client.tried]]
        if policy.guided and proxy.busy_until - now > _GUIDED_WAIT:
            again = _promise(proxy, now, cost) + _GUIDED_JITTER * random()
            heapq.heappush(coming, (again, next(numbers), client))
            continue
        done = _serve(proxy, policy, now, cost)
        if done is not None:
            back.append(done)
            continue
        given_up += 1
        client.tried = (client.tried + 1) % proxies
        leaves = now + policy.patience + (policy.pause if client.tried == 0 else 0.0)
        heapq.heappush(coming, (leaves, next(numbers), client))
    return Modelled(policy=policy, back=tuple(sorted(back)), given_up=given_up, capped=len(back) < agents)


def _serve(proxy: _Proxy, policy: Policy, now: float, cost: float) -> float | None:
    """When the set-up is done; None: its client leaves before. First come, first served, so what a newcomer will
    find is known when he comes."""
    start = max(now, proxy.busy_until)
    leaves = now + policy.patience
    if start > leaves and policy.noticed:
        proxy.busy_until = start + _NOTICED_SECONDS
        return None
    proxy.busy_until = start + cost
    return proxy.busy_until if proxy.busy_until <= leaves else None


def _promise(proxy: _Proxy, now: float, cost: float) -> float:
    """A time behind everything already promised."""
    proxy.busy_until += _ANSWER_SECONDS
    proxy.promised = max(proxy.promised, proxy.busy_until, now) + cost
    return proxy.promised


def _shuffled(count: int, random: Random) -> list[int]:
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        chosen = min(int(random() * (last + 1)), last)
        order[last], order[chosen] = order[chosen], order[last]
    return order
