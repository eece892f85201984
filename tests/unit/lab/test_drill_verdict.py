"""The verdict of a drill: what fails it, and the one line that is promised."""

import msgspec
import pytest

from stayline.lab.checker import Fault, Finding, Findings
from stayline.lab.drill_report import Budget, Result, judge
from stayline.lab.drill_run import outages_of
from stayline.lab.drill_stage import Strike
from stayline.lab.drill_times import Outage
from stayline.lab.drills import DRILLS, described
from stayline.lab.history import AgentFact

CLEAN = Findings(open=24, sent=100, found=[])
BACK = Outage("ann", 10.0, 10.1, 10.2, 11.0)
BUDGET = Budget("restored", "p99", 2.0)


def test_the_line_has_exactly_the_promised_keys() -> None:
    line = msgspec.json.decode(msgspec.json.encode(judge("relocate", 12, CLEAN, [BACK], [BUDGET])))
    spread = {"p50": 1.0, "p99": 1.0, "max": 1.0}
    assert line.pop("why")
    assert line == {
        "drill": "relocate",
        "agents": 12,
        "interactions": {"open": 24, "lost": 0, "doubled": 0, "two_owners": 0},
        "messages": {"sent": 100, "lost": 0, "doubled": 0, "out_of_order": 0},
        "seconds": {
            "detection": {"p50": 0.1, "p99": 0.1, "max": 0.1},
            "restricted": {"p50": 0.8, "p99": 0.8, "max": 0.8},
            "restored": spread,
        },
        "verdict": "pass",
    }


@pytest.mark.parametrize("fault", list(Fault))
def test_any_finding_fails_the_drill_and_is_counted_and_named(fault: Fault) -> None:
    findings = Findings(1, 1, [Finding(fault, "this one", "because"), Finding(fault, "this one", "again")])
    result = judge("relocate", 1, findings, [BACK], [])
    figures = [
        *msgspec.structs.astuple(result.interactions)[1:],
        *msgspec.structs.astuple(result.messages)[1:],
    ]
    assert sorted(figures) == [0, 0, 0, 0, 0, 1]
    assert not result.passed
    assert "this one: because" in result.why


def test_a_budget_that_is_exceeded_fails_the_drill_and_says_which() -> None:
    slow = msgspec.structs.replace(BACK, restored=12.5)
    result = judge("core-kill", 1, CLEAN, [slow], [BUDGET])
    assert not result.passed
    assert "restored p99 took 2.5 s, the budget is 2 s" in result.why


def test_who_never_comes_back_fails_the_drill() -> None:
    never = msgspec.structs.replace(BACK, agent="bob", restored=None)
    result = judge("core-kill", 2, CLEAN, [BACK, never], [BUDGET])
    assert not result.passed
    assert "1 agents never got their controls back (bob)" in result.why


def test_a_problem_fails_the_drill() -> None:
    assert judge("core-kill", 1, CLEAN, [BACK], [], ["the switch failed"]).why.startswith("the switch failed")


def test_what_was_reported_as_lost_is_no_fault_and_anything_else_is() -> None:
    def lost(message: str) -> Result:
        finding = Finding(Fault.LOST_MESSAGE, message, "acknowledged and gone")
        return judge("site-loss", 1, Findings(1, 9, [finding], frozenset([message])), [BACK], [], [],
                     frozenset(["m1"]))  # fmt: skip

    assert lost("m1").passed
    assert lost("m1").messages.lost == 1
    assert "all of them reported" in lost("m1").why
    assert not lost("m2").passed


def test_a_strike_that_its_victims_did_not_notice_is_a_problem() -> None:
    facts = {"ann": [AgentFact("link.up", 1.0, "ann", link="Chat Server", application="Chat_A_1")]}
    found, problems = outages_of([Strike(5.0, "Chat Server", "Chat_A_1")], facts)
    assert found == []
    assert problems == ["1 agents did not notice what was done (ann)"]


def test_a_strike_at_a_server_without_agents_is_a_problem() -> None:
    _, problems = outages_of([Strike(5.0, "Chat Server", "Chat_A_2")], {"ann": []})
    assert problems == ["0 agents did not notice what was done (nobody was there to notice)"]


def test_the_table_of_drills_says_what_it_does() -> None:
    assert list(DRILLS) == [
        "proxy-kill", "core-kill", "core-freeze", "chat-kill", "relocate", "site-loss", "config-down",
    ]  # fmt: skip
    assert all(drill.budgets and "Expected:" in described(drill) for drill in DRILLS.values())
