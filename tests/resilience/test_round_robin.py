"""Tenants take turns."""

from app.resilience.round_robin import RoundRobinQueue


def queue_of(tenants: str) -> RoundRobinQueue[int]:
    queue: RoundRobinQueue[int] = RoundRobinQueue()
    for number, tenant in enumerate(tenants):
        queue.join(tenant, number)
    return queue


def order_of(tenants: str) -> str:
    queue = queue_of(tenants)
    callers = sorted(enumerate(tenants), key=lambda each: queue.callers_before(each[1], each[0]))
    return "".join(tenant for _, tenant in callers)


def test_tenants_take_turns_in_the_order_in_which_they_began_to_wait() -> None:
    assert order_of("aaaabbc") == "abcabaa"
    assert order_of("bcccab") == "bcabcc"
    assert order_of("aaa") == "aaa"


def test_positions_are_all_different() -> None:
    tenants = "aabacbbbadc"
    queue = queue_of(tenants)
    assert sorted(queue.callers_before(tenant, number) for number, tenant in enumerate(tenants)) == list(range(11))


def test_new_caller_counts_as_if_it_joined_now() -> None:
    queue = queue_of("aaab")
    assert [queue.callers_before(tenant, 99) for tenant in "abc"] == [4, 3, 2]


def test_tenant_that_had_its_turn_goes_behind_the_others() -> None:
    queue = queue_of("aab")
    queue.leave("a", 0)
    assert [queue.callers_before("b", 2), queue.callers_before("a", 1)] == [0, 1]


def test_queue_is_empty_when_the_last_caller_has_left() -> None:
    queue = queue_of("ab")
    queue.leave("a", 0)
    assert queue
    queue.leave("b", 1)
    assert not queue
