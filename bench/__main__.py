"""``python -m bench [--only NAME]``: run benchmarks, print them and write ``bench/results.json``."""

import argparse
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from bench.memory import memory
from bench.proxy import proxy
from bench.results import Result, save, show
from bench.setups import setups
from bench.transitions import transitions

BENCHMARKS: dict[tuple[str, ...], Callable[[], Awaitable[list[Result]]]] = {
    ("durable_transitions",): transitions,
    (
        "proxy_messages",
        "proxy_latency_p50",
        "proxy_latency_p99",
        "proxy_messages_nats",
        "proxy_latency_p50_nats",
        "proxy_latency_p99_nats",
    ): proxy,
    ("setups", "resumes"): setups,
    ("memory_per_client",): memory,
}
"""Names of the figures -> the measurement that takes them together."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    known = [name for names in BENCHMARKS for name in names]
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(known)}")
    only = parser.parse_args().only
    if only is not None and only not in known:
        sys.exit(f"bench: there is no figure {only!r}; there are {', '.join(known)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    results: list[Result] = []
    for names, measure in BENCHMARKS.items():
        if only is None or only in names:
            results += uvloop.run(measure())  # type: ignore[arg-type]
    show(results)
    save(results)


if __name__ == "__main__":
    main()
