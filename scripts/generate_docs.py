"""Write the reference pages that are printed from the tables the code runs on (docs/reference/generated, ignored).

One source each: the option catalogue, the table of controls, the life cycle of an interaction, the life of a
supervised process, and the plan of a site switch.
"""

from pathlib import Path

from stayline.control.host.lifecycle import TABLE as PROCESS_TABLE
from stayline.domain.controls import TABLE as CONTROL_TABLE
from stayline.domain.controls import Link
from stayline.domain.interaction import TRANSITIONS
from stayline.domain.option_catalogue import CATALOGUE
from stayline.domain.switchover import PLAN

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference" / "generated"


def cell(text: str) -> str:
    """Text that is safe in a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(one) for one in line) + " |" for line in lines) + "\n"


def options() -> str:
    """Every known option, by section."""
    parts = ["# Options\n\nEvery option that Stayline reads. An unknown option or value is refused.\n"]
    for section in sorted({row.section for row in CATALOGUE}):
        rows = [
            [
                f"`{row.key}`",
                ", ".join(sorted(one.value for one in row.on)),
                f"`{row.default}`" if row.default else "(none)",
                row.expected(),
                row.takes_effect,
                row.meaning,
            ]
            for row in sorted(CATALOGUE, key=lambda one: one.key)
            if row.section == section
        ]
        head = ["Option", "Set on", "Default", "Valid", "Takes effect", "Meaning"]
        parts.append(f"\n## Section `{section}`\n\n{table(head, rows)}")
    return "".join(parts)


def controls() -> str:
    """Medium x stage x links: the one table of what an agent may do."""
    intro = (
        "# Controls\n\nWhat an agent may do, and which links it needs. This is the table by which the Workspace enables"
        " its controls. A control that is not listed at a stage has no meaning there. *none* means that it works even"
        " while every link is away.\n"
    )
    parts = [intro]
    for media, rows in CONTROL_TABLE.items():
        stages = sorted({stage for row in rows.values() for stage in row}, key=lambda one: one.value)
        body = []
        for control, row in sorted(rows.items(), key=lambda item: item[0].value):
            cells = [f"`{control.value}`"]
            for stage in stages:
                needs = row.get(stage)
                cells.append("" if needs is None else links(needs))
            body.append(cells)
        parts.append(f"\n## {media.value}\n\n{table(['Control', *(one.value for one in stages)], body)}")
    return "".join(parts)


def links(needs: frozenset[Link]) -> str:
    """Names of links, or *none*."""
    return ", ".join(sorted(one.value for one in needs)) or "*none*"


def life_cycle() -> str:
    """The life cycle of an interaction, as a diagram and as a table."""
    edges = []
    rows = []
    for (state, event), edge in TRANSITIONS.items():
        source = "[*]" if state is None else state.value
        if state is not edge.new:
            edges.append(f"    {source} --> {edge.new.value}: {event.value}")
        rows.append([source, event.value, edge.new.value, edge.guard.value, edge.why])
    diagram = "```mermaid\nstateDiagram-v2\n" + "\n".join(edges) + "\n    stopped --> [*]\n```\n"
    head = ["From", "Event", "To", "Who may", "Reason, when none is given"]
    return f"# Life cycle of an interaction\n\n{diagram}\nWhat is not in the table is refused.\n\n{table(head, rows)}"


def processes() -> str:
    """The life of a supervised process."""
    rows = [
        [state.value, event.value, edge.new.value, edge.action.value, edge.why]
        for (state, event), edge in PROCESS_TABLE.items()
    ]
    head = ["From", "Event", "To", "Then", "Why"]
    return f"# Life of a supervised process\n\n{table(head, rows)}"


def plan() -> str:
    """The steps of a site switch."""
    rows = [
        [
            str(number),
            rule.seed,
            f"`{rule.step.value}`",
            rule.title,
            rule.why,
            "yes" if rule.undoable else "no",
            "yes" if rule.optional_when_forced else "no",
        ]
        for number, rule in enumerate(PLAN, 1)
    ]
    head = ["", "Seed", "Step", "Title", "Why", "Can be taken back", "May fail when forced"]
    return f"# Steps of a site switch\n\n{table(head, rows)}"


def specification() -> str:
    """The numbered rules of the connection logic, as the conformance suite cites them."""
    return (ROOT / "conformance" / "SPEC.md").read_text()


PAGES = {
    "options.md": options,
    "controls.md": controls,
    "life-cycle.md": life_cycle,
    "processes.md": processes,
    "switch-steps.md": plan,
    "connection-specification.md": specification,
}


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
    print(
        f"{len(PAGES)} pages in {FOLDER.relative_to(Path.cwd()) if FOLDER.is_relative_to(Path.cwd()) else FOLDER}"
    )


if __name__ == "__main__":
    main()
