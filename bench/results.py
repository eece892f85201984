"""What a benchmark gives back, and the file that keeps it."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure: median of several runs, beside the median of a reference taken in turn with it."""

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float
    ratio: float


def compare(
    name: str, unit: str, values: Sequence[float], reference: str, references: Sequence[float]
) -> Result:
    """Medians, and the median of the pair-by-pair ratios: it holds when the machine's speed drifts."""
    pairs = [value / other for value, other in zip(values, references, strict=True) if other]
    return Result(
        name=name,
        value=round(statistics.median(values), 3),
        unit=unit,
        reference=reference,
        reference_value=round(statistics.median(references), 3),
        ratio=round(statistics.median(pairs), 3),
    )


def save(results: Sequence[Result], path: Path = RESULTS) -> None:
    """Write the list, keeping figures of earlier runs that this run did not take."""
    new = {result.name: asdict(result) for result in results}
    old = {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    path.write_text(json.dumps(list((old | new).values()), indent=2) + "\n")


def show(results: Sequence[Result]) -> None:
    """Print a table."""
    for row in results:
        print(
            f"{row.name:32} {row.value:>12,.2f} {row.unit:12} "
            f"{row.reference}: {row.reference_value:,.2f}  ratio {row.ratio:.2f}"
        )
