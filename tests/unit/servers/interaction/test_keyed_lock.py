"""Locks by name."""

import asyncio

import pytest

from stayline.servers.interaction.keyed_lock import KeyedLock


def test_same_key_is_serialised_other_keys_are_not() -> None:
    async def scenario() -> None:
        locks = KeyedLock()
        order: list[str] = []
        gate = asyncio.Event()

        async def work(name: str, *keys: str) -> None:
            async with locks.hold(*keys):
                order.append(f"{name}+")
                if name == "a":
                    await gate.wait()
                order.append(f"{name}-")

        first = asyncio.create_task(work("a", "x"))
        second = asyncio.create_task(work("b", "x"))
        await asyncio.sleep(0)
        await work("c", "y")
        assert order == ["a+", "c+", "c-"]
        assert locks.is_held("x")
        gate.set()
        await asyncio.gather(first, second)
        assert order[-3:] == ["a-", "b+", "b-"]
        assert not locks.is_held("x")
        assert locks._locks == {}

    asyncio.run(scenario())


def test_several_keys_in_any_order_never_wait_for_each_other() -> None:
    async def scenario() -> None:
        locks = KeyedLock()

        async def work(*keys: str) -> None:
            async with locks.hold(*keys):
                await asyncio.sleep(0)

        jobs = [work("x", "y"), work("y", "x"), work("z", "x"), work("y", "y")] * 20
        await asyncio.wait_for(asyncio.gather(*jobs), 5)
        assert locks._locks == {}

    asyncio.run(scenario())


def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        locks = KeyedLock()
        async with locks.hold("x"):
            waiter = asyncio.create_task(_take(locks, "w", "x"))
            await asyncio.sleep(0)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert not locks.is_held("w")
            assert locks.is_held("x")
        assert locks._locks == {}

    asyncio.run(scenario())


async def _take(locks: KeyedLock, *keys: str) -> None:
    async with locks.hold(*keys):
        raise AssertionError("never gets it")
