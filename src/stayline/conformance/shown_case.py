"""A case for people: what is given, the story, and the text of the rules that it proves."""

import re
from pathlib import Path

import msgspec
import yaml

from stayline.conformance.case import Case, Given, suite_folder

_RULE = re.compile(r"^(\d+\.\d+) ")


def lines_of(case: Case) -> list[str]:
    """The case in lines."""
    rules = rule_texts(suite_folder() / "SPEC.md")
    given = msgspec.to_builtins(case.given)
    usual = msgspec.to_builtins(Given(clusters=[]))
    told = {key: value for key, value in given.items() if value != usual.get(key)}
    lines = [f"{case.id}  {case.title}", f"from: {'; '.join(case.sources)}"]
    if case.needs:
        lines.append(f"needs: {', '.join(case.needs)}")
    lines += ["", "given:"]
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    lines += [f"  {line}" for line in text.splitlines()]
    lines += ["", "story:"]
    lines += [f"  {step.number:2}. {step.words}" for step in case.story]
    lines += ["", "rules:"]
    lines += [f"  {rules.get(number, f'{number} (not in the specification)')}" for number in case.rules]
    return lines


def rule_texts(path: Path) -> dict[str, str]:
    """The numbered rules of the specification: number -> text in one line, its number first."""
    rules: dict[str, str] = {}
    number = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        begins = _RULE.match(line)
        if begins is not None:
            number = begins[1]
            rules[number] = line.strip()
        elif number and line.strip() and not line.startswith("#"):
            rules[number] += f" {line.strip()}"
        else:
            number = ""
    return rules
