"""The field cache keeps what a resolver derives for as long as operation and variables stay the same."""

import io
from types import SimpleNamespace

import pytest
import strawberry

from app.execution import Encoding, Executor, Request
from app.execution.limits import OperationLimits
from app.execution.resolve_info import FieldCache, field_cache_of
from app.observability.log import create_log


class Derived:
    """A value that a resolver stores in its cache."""


@strawberry.type
class Query:
    @strawberry.field
    def is_cached(self, info: strawberry.Info, number: int = 0) -> bool:  # noqa: ARG002 - only tells sets of variables apart
        cache = field_cache_of(info._raw_info)
        if cache.get(Derived):
            return True
        cache.set(Derived())
        return False


def executor(*, compiled: bool = True) -> Executor:
    return Executor(
        strawberry.Schema(Query),
        OperationLimits(tokens=100, depth=10, aliases=10, cost=10),
        lambda *_: 0,
        Encoding(frozenset({"Boolean"}), "attribute"),
        introspection=True,
        log=create_log("json", "info", io.StringIO()),
        compiled=compiled,
    )


async def answer(executor: Executor, query: str, number: int | None = None) -> str:
    variables = {} if number is None else {"n": number}
    response = await executor.run(Request(query, variables), SimpleNamespace(extra_errors=[]))
    assert not response.errors
    assert response.data is not None
    return bytes(response.data).decode()


async def test_field_cache_outlasts_a_run_of_the_same_operation() -> None:
    executor_ = executor()
    assert await answer(executor_, "{ isCached }") == '{"isCached":false}'
    assert await answer(executor_, "{ isCached }") == '{"isCached":true}'
    assert await answer(executor_, "{ isCached  }") == '{"isCached":false}'


async def test_each_field_has_a_cache_of_its_own() -> None:
    assert await answer(executor(), "{ a: isCached b: isCached }") == '{"a":false,"b":false}'


async def test_other_variables_have_another_field_cache() -> None:
    executor_ = executor()
    query = "query ($n: Int!) { isCached(number: $n) }"
    assert [await answer(executor_, query, number) for number in (1, 2, 1, 2)] == [
        '{"isCached":false}',
        '{"isCached":false}',
        '{"isCached":true}',
        '{"isCached":true}',
    ]


async def test_field_cache_is_empty_if_graphql_core_runs_the_operation() -> None:
    executor_ = executor(compiled=False)
    for _ in range(2):
        assert await answer(executor_, "{ isCached }") == '{"isCached":false}'


@pytest.mark.parametrize("value", [1, "text", Derived()])
def test_field_cache_returns_a_value_by_its_exact_type(value: object) -> None:
    cache = FieldCache()
    assert cache.get(type(value)) is None
    assert cache.set(value) is value
    assert cache.get(type(value)) is value
    assert cache.get(object) is None
