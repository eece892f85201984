"""How many chats one address may start, and which address that is."""

import pytest

from stayline.domain.errors import Refusal, RefusedError
from stayline.servers.chat.starts import StartLimit, source_of


def refusal_of(limit: StartLimit, source: str, per_minute: int, now: float) -> Refusal | None:
    try:
        limit.take(source, per_minute, now)
    except RefusedError as error:
        return error.refusal
    return None


def test_an_address_gets_its_share_and_is_told_when_to_come_back() -> None:
    limit = StartLimit()
    assert [refusal_of(limit, "192.0.2.1", 30, 100.0) for _ in range(30)] == [None] * 30
    refused = refusal_of(limit, "192.0.2.1", 30, 100.0)
    assert refused is not None
    assert (refused.code, refused.retryable, refused.retry_after) == ("chat.too_many_starts", True, 2.0)
    assert refusal_of(limit, "192.0.2.2", 30, 100.0) is None  # others do not suffer
    assert refusal_of(limit, "192.0.2.1", 30, 102.0) is None  # obeying is rewarded
    assert refusal_of(limit, "192.0.2.1", 30, 102.0) is not None


def test_a_changed_option_counts_at_once() -> None:
    limit = StartLimit()
    assert refusal_of(limit, "192.0.2.1", 1, 0.0) is None
    assert refusal_of(limit, "192.0.2.1", 1, 0.0) is not None
    assert refusal_of(limit, "192.0.2.1", 2, 0.0) is None


def test_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    limit = StartLimit(most=3)
    for number in (1, 2, 3):
        refusal_of(limit, f"192.0.2.{number}", 1, 0.0)
    assert refusal_of(limit, "192.0.2.1", 1, 1.0) is not None  # 2 is now the oldest
    refusal_of(limit, "192.0.2.4", 1, 1.0)
    assert len(limit) == 3
    assert refusal_of(limit, "192.0.2.1", 1, 1.0) is not None
    assert refusal_of(limit, "192.0.2.2", 1, 1.0) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "behind_proxy", "source"),
    [
        ("192.0.2.1", ["203.0.113.9"], False, "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], True, "203.0.113.9"),
        ("192.0.2.1", ["198.51.100.1, 203.0.113.9"], True, "203.0.113.9"),  # the first one the customer wrote
        ("192.0.2.1", ["198.51.100.1", "203.0.113.9:4711"], True, "203.0.113.9"),
        ("192.0.2.1", ["[2001:db8:1:2:3::4]:4711"], True, "2001:db8:1:2::/64"),
        ("192.0.2.1", ["nonsense"], True, "192.0.2.1"),
        ("192.0.2.1", [], True, "192.0.2.1"),
        ("2001:db8:1:2:aaaa::1", [], False, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", [], False, "192.0.2.1"),
        ("fe80::1%eth0", [], False, "fe80::/64"),
        ("", [], False, "unknown"),
    ],
)
def test_who_counts_as_the_source(peer: str, forwarded: list[str], behind_proxy: bool, source: str) -> None:
    assert source_of(peer, forwarded, behind_proxy=behind_proxy) == source
