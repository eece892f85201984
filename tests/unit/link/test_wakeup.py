"""A sleep of the machine is told from the time that passes in use."""

import asyncio

from stayline.link.wakeup import SLEPT_SECONDS, Sleep, WakeUp


def test_time_in_use_is_no_sleep() -> None:
    sleep = Sleep(1000.0, 50.0)
    assert sleep.look(1005.0, 55.0) == 0.0
    assert sleep.look(5005.0, 4055.0) == 0.0


def test_a_wall_clock_that_goes_on_alone_is_a_sleep_told_once() -> None:
    sleep = Sleep(1000.0, 50.0)
    assert sleep.look(1302.0, 52.0) == 300.0
    assert sleep.look(1304.0, 54.0) == 0.0


def test_a_small_or_backward_correction_of_the_clock_is_no_sleep() -> None:
    sleep = Sleep(1000.0, 50.0)
    assert sleep.look(1002.0 + SLEPT_SECONDS - 0.1, 52.0) == 0.0
    assert sleep.look(500.0, 54.0) == 0.0


def test_corrections_do_not_add_up_to_a_sleep() -> None:
    sleep = Sleep(0.0, 0.0)
    assert all(sleep.look(8.0 * turn, 1.0 * turn) == 0.0 for turn in range(1, 50))


def test_who_watches_is_told_while_it_watches() -> None:
    async def watch() -> list[float]:
        told: list[float] = []
        wall = [1000.0]
        first, second = asyncio.Event(), asyncio.Event()

        def woke(slept: float) -> None:
            told.append(slept)
            (second if len(told) > 1 else first).set()

        watch = WakeUp(woke, wall=lambda: wall[0], monotonic=lambda: 0.0, every=0.001)
        watch.start()
        for event in (first, second):
            wall[0] += 60.0
            await asyncio.wait_for(event.wait(), 5.0)
        watch.stop()
        wall[0] += 60.0
        for _ in range(20):
            await asyncio.sleep(0.001)
        return told

    assert asyncio.run(watch()) == [60.0, 60.0]
