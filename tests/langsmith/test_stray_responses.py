"""What LangSmith, or a proxy, sends without being asked never becomes anybody's rows, and is not cached."""

import asyncio

import pytest

from tests.conftest import Gateway, Serve
from tests.langsmith.pooled_requests import STRAY, echoes_key
from tests.support.raw_upstream import Connection, listed, raw_upstream, row

QUERY = "{ sessions(first: 1) { nodes { name } } }"


async def name_for(gateway: Gateway, key: str) -> str:
    """The name of the only session that the tenant with this key sees: with this upstream, the key itself."""
    (node,) = (await gateway.data(QUERY, key=key))["sessions"]["nodes"]
    return str(node["name"])


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
async def test_each_tenant_gets_its_own_rows_after_a_stray_response(serve: Serve, stray: bytes) -> None:
    was_answered = asyncio.Event()

    async def answers_and_then_sends_more(connection: Connection) -> None:
        await connection.send(listed(row(name=connection.request.header("x-api-key")[0])))
        await was_answered.wait()
        await connection.send(stray)

    async with (
        raw_upstream(answers_and_then_sends_more, echoes_key()) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        assert await name_for(gateway, "tenant-0") == "tenant-0"
        was_answered.set()
        await upstream.idle()
        tenants = [f"tenant-{number}" for number in range(1, 6)]
        assert [await name_for(gateway, tenant) for tenant in tenants] == tenants
        sent = len(upstream.requests)
        assert [await name_for(gateway, tenant) for tenant in ["tenant-0", *tenants]] == ["tenant-0", *tenants]
        assert len(upstream.requests) == sent
