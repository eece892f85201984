"""The safety rules of a switch-over, each refusal with its code; and the plan's shape."""

from typing import Any

import msgspec
import pytest

from stayline.control.switch.steps import STEPS
from stayline.domain.switchover import PLAN, Mode, Request, SiteFacts, Step, judge, next_step, past_no_return

A = SiteFacts(site="Site_A", reachable=True, database="primary", synchronous=True, epoch=3)
B = SiteFacts(site="Site_B", reachable=True, database="replica", streaming=True, epoch=3)


def asked(mode: Mode = Mode.PLANNED, reason: str = "maintenance") -> Request:
    return Request(target="Site_B", mode=mode, reason=reason, by="op")


def test_a_healthy_pair_may_be_switched_either_way() -> None:
    assert judge(asked(), A, B, "") is None
    assert judge(asked(Mode.FORCED), A, B, "") is None


@pytest.mark.parametrize(
    ("mode", "source", "target", "code", "retryable"),
    [
        (Mode.PLANNED, {}, {"reachable": False}, "switch.target_unreachable", True),
        (Mode.PLANNED, {}, {"database": "primary"}, "switch.already", False),
        (Mode.PLANNED, {}, {"database": "down"}, "switch.no_replica", True),
        (Mode.PLANNED, {}, {"streaming": False}, "switch.not_streaming", True),
        (Mode.PLANNED, {}, {"lag_bytes": 10**9}, "switch.lag", True),
        (Mode.PLANNED, {}, {"age": 61.0}, "switch.evidence", True),
        (Mode.PLANNED, {"reachable": False}, {}, "switch.source_unreachable", True),
        (Mode.PLANNED, {"database": "down"}, {}, "switch.source_not_primary", False),
        (Mode.FORCED, {}, {"database": "down"}, "switch.no_replica", True),
        (Mode.FORCED, {}, {"database": "primary"}, "switch.already", False),
    ],
)
def test_what_is_refused(
    mode: Mode, source: dict[str, Any], target: dict[str, Any], code: str, retryable: bool
) -> None:
    refusal = judge(
        asked(mode), msgspec.structs.replace(A, **source), msgspec.structs.replace(B, **target), ""
    )
    assert refusal is not None
    assert (refusal.code, refusal.retryable) == (code, retryable)
    assert refusal.fix


def test_forced_asks_nothing_of_the_lost_site() -> None:
    lost = SiteFacts(site="Site_A", reachable=False, database="unknown")
    stale = msgspec.structs.replace(B, streaming=False)
    assert judge(asked(Mode.FORCED), lost, stale, "") is None


def test_a_reason_is_required_and_another_unfinished_plan_refuses() -> None:
    refusal = judge(asked(reason="  "), A, B, "")
    assert refusal is not None
    assert refusal.field == "reason"
    refusal = judge(asked(), A, B, "Site_A")
    assert refusal is not None
    assert refusal.code == "switch.unfinished"
    assert judge(asked(), A, B, "Site_B") is None


def test_every_step_of_the_plan_is_implemented_and_no_other() -> None:
    assert [rule.step for rule in PLAN] == list(STEPS)
    assert set(STEPS) == set(Step)


def test_a_plan_continues_at_the_first_step_not_done() -> None:
    done: set[Step] = set()
    for rule in PLAN:
        assert next_step(done) is rule.step
        done.add(rule.step)
    assert next_step(done) is None


def test_the_point_of_no_return_is_the_database() -> None:
    order = [rule.step for rule in PLAN]
    before = set(order[: order.index(Step.DATABASE)])
    assert not past_no_return(before)
    assert past_no_return(before | {Step.DATABASE})
