"""``python -m bench [--only NAME]``: run benchmarks, print them and write ``bench/results.json``."""

import argparse
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from bench.proxy import proxy
from bench.results import Result, save, show
from bench.transitions import transitions

BENCHMARKS: dict[str, Callable[[], Awaitable[list[Result]]]] = {
    "durable_transitions": transitions,
    "proxy": proxy,
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    only = parser.parse_args().only
    if only is not None and only not in BENCHMARKS:
        sys.exit(f"bench: there is no benchmark {only!r}; there are {', '.join(BENCHMARKS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    results: list[Result] = []
    for name, measure in BENCHMARKS.items():
        if only in (None, name):
            results += uvloop.run(measure())  # type: ignore[arg-type]
    show(results)
    save(results)


if __name__ == "__main__":
    main()
