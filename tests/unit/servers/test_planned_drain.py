"""Whether a server may be emptied, and over which time."""

import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.control import Drain, Process
from stayline.servers.solution.drain import planned_drain
from stayline.servers.solution.status import Seen
from tests.unit.control.switch.test_spread import host, proxy


def seen(*processes: Process) -> dict[str, Seen]:
    """What is known of the sites."""
    return {"Site_A": Seen(host(), 0.0, ""), "Site_B": Seen(host(*processes), 0.0, "")}


def code(order: Drain, *processes: Process) -> str:
    """The refusal's code."""
    with pytest.raises(RefusedError) as refused:
        planned_drain(order, seen(*processes))
    return refused.value.refusal.code


P1 = proxy("P1", clients=300, setup_seconds=0.5)
P2 = proxy("P2", setup_seconds=0.01)
P3 = proxy("P3", setup_seconds=0.02)


def test_the_window_is_what_the_others_need() -> None:
    site, order = planned_drain(Drain(application="P1"), seen(P1, P2, P3))
    assert site == "Site_B"
    assert order.window == pytest.approx(1.2 * 300 * 0.02 / 2)


def test_a_few_clients_still_get_a_second() -> None:
    _, order = planned_drain(Drain(application="P2"), seen(P1, P2, P3))
    assert order.window == 1.0


def test_an_operators_window_stands() -> None:
    _, order = planned_drain(Drain(application="P1", window=42.0), seen(P1, P2))
    assert order.window == 42.0


def test_the_last_one_is_not_emptied() -> None:
    closed = proxy("P2", listening=False)
    emptied = proxy("P3", draining=True)
    other = proxy("U1", kind="Contact Server Proxy")
    assert code(Drain(application="P1", window=5.0), P1, closed, emptied, other) == "drain.last"


def test_one_that_does_not_listen_may_be_kept_closed() -> None:
    _, order = planned_drain(Drain(application="P1"), seen(proxy("P1", listening=False)))
    assert order.window == 1.0


def test_undoing_needs_no_others() -> None:
    order = Drain(application="P1", undo=True)
    assert planned_drain(order, seen(P1)) == ("Site_B", order)


def test_only_proxies_can_be_emptied() -> None:
    assert code(Drain(application="C1"), proxy("C1", kind="Chat Server")) == "drain.kind"


def test_an_unknown_server_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RefusedError) as refused:
        planned_drain(Drain(application="IxnProxy_B_l"), seen(proxy("IxnProxy_B_1")))
    assert refused.value.refusal.code == "server.unknown"
    assert "IxnProxy_B_1" in refused.value.refusal.fix


@pytest.mark.parametrize("window", [-1.0, 3_601.0, float("inf"), float("nan")])
def test_a_window_must_make_sense(window: float) -> None:
    assert code(Drain(application="P1", window=window), P1, P2) == "drain.window"


def test_a_reason_has_a_bound() -> None:
    assert code(Drain(application="P1", why="x" * 1_001), P1, P2) == "drain.why"
