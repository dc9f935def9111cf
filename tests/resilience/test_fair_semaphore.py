"""Tenants share the places of a semaphore fairly."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.resilience.fair_semaphore import FairSemaphore, QueueFullError


@dataclass
class Callers:
    """Callers of a semaphore, who hold their place until a test lets them go."""

    semaphore: FairSemaphore
    served: list[str] = field(default_factory=list)
    holding: list[tuple[str, asyncio.Event]] = field(default_factory=list)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    async def arrive(self, tenants: str) -> None:
        self.tasks += [asyncio.create_task(self._hold(tenant)) for tenant in tenants]
        await settle()

    async def leave(self, tenant: str) -> None:
        """One caller of this tenant returns its place."""
        found = next(each for each in self.holding if each[0] == tenant)
        self.holding.remove(found)
        found[1].set()
        await settle()

    async def cancel(self, *tasks: "asyncio.Task[None]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, tenant: str) -> None:
        async with self.semaphore.place(tenant):
            event = asyncio.Event()
            self.served.append(tenant)
            self.holding.append((tenant, event))
            try:
                await event.wait()
            finally:
                self.holding = [each for each in self.holding if each[1] is not event]


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(6):
        await asyncio.sleep(0)


async def test_tenants_take_turns() -> None:
    callers = Callers(FairSemaphore(1))
    await callers.arrive("aaaabbc")
    for _ in range(6):
        await callers.leave(callers.holding[0][0])
    assert "".join(callers.served) == "abcabaa"
    await callers.cancel(*callers.tasks)


async def test_free_place_goes_to_the_tenant_that_holds_the_fewest() -> None:
    callers = Callers(FairSemaphore(4, reserved=0))
    await callers.arrive("aaaa" + "aaaa" + "bbb")
    await callers.leave("a")
    await callers.leave("a")
    assert Counter(tenant for tenant, _ in callers.holding) == {"a": 2, "b": 2}
    await callers.leave("b")
    assert Counter(tenant for tenant, _ in callers.holding) == {"a": 2, "b": 2}
    await callers.cancel(*callers.tasks)


async def test_reserved_places_go_to_tenants_that_hold_none() -> None:
    callers = Callers(FairSemaphore(8))
    await callers.arrive("a" * 20)
    assert callers.semaphore.held == 6
    await callers.arrive("bbcc")
    assert "".join(callers.served[6:]) == "bc"
    await callers.leave("b")
    assert callers.served[-1] == "b"
    await callers.cancel(*callers.tasks)


async def test_caller_that_is_cancelled_when_its_place_comes_returns_it() -> None:
    callers = Callers(FairSemaphore(1))
    await callers.arrive("ab")
    callers.holding[0][1].set()
    await asyncio.sleep(0)  # the place is on its way to the second caller
    await callers.cancel(callers.tasks[1])
    assert (callers.semaphore.held, callers.semaphore.waiting) == (0, 0)
    await callers.arrive("c")
    assert callers.served[-1] == "c"
    await callers.cancel(*callers.tasks)


async def test_cancelled_caller_gets_no_place() -> None:
    callers = Callers(FairSemaphore(1))
    await callers.arrive("abc")
    callers.tasks[1].cancel()
    await callers.leave("a")
    assert callers.served == ["a", "c"]
    await callers.cancel(*callers.tasks)


async def test_tenant_with_a_short_queue_is_let_in_to_a_full_one() -> None:
    callers = Callers(FairSemaphore(1, max_waiting=4, max_waiting_per_tenant=3))
    await callers.arrive("aaaa" + "b")
    assert callers.semaphore.waiting == 4
    await callers.arrive("c")
    assert isinstance(callers.tasks[3].exception(), QueueFullError)
    await callers.arrive("a")
    assert isinstance(callers.tasks[-1].exception(), QueueFullError)
    await callers.cancel(*callers.tasks)


steps = st.lists(st.tuples(st.sampled_from(["arrive", "leave", "cancel"]), st.integers(0, 99)), max_size=60)


async def run_steps(limit: int, todo: list[tuple[str, int]]) -> None:
    callers = Callers(FairSemaphore(limit, max_waiting=12, max_waiting_per_tenant=5))
    semaphore = callers.semaphore
    for action, number in todo:
        if action == "arrive":
            await callers.arrive("abcd"[number % 4])
        elif action == "leave" and callers.holding:
            await callers.leave(callers.holding[number % len(callers.holding)][0])
        elif action == "cancel" and callers.tasks:
            await callers.cancel(callers.tasks[number % len(callers.tasks)])
        held = Counter(tenant for tenant, _ in callers.holding)
        running = sum(not task.done() for task in callers.tasks)
        assert semaphore.held == held.total() <= limit
        assert semaphore.waiting == running - held.total() <= 12
        # Nobody waits while a place is free that is not reserved.
        assert not semaphore.waiting or limit - semaphore.held <= min(limit // 4, 4)
    await callers.cancel(*callers.tasks)
    assert (semaphore.held, semaphore.waiting) == (0, 0)


@given(st.integers(1, 9), steps)
def test_no_place_is_lost_whatever_callers_do(limit: int, todo: list[tuple[str, int]]) -> None:
    asyncio.run(run_steps(limit, todo))


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_small_semaphore_reserves_nothing(limit: int) -> None:
    callers = Callers(FairSemaphore(limit))
    await callers.arrive("a" * 5)
    assert callers.semaphore.held == limit
    await callers.cancel(*callers.tasks)
