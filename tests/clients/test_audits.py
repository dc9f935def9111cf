"""The audits of GraphQL over HTTP that npm's `graphql-http` makes: each of them passes."""

from tests.clients.node import needs_node, printed_by
from tests.conftest import Gateway

COUNT = 61


@needs_node
async def test_each_audit_passes(gateway: Gateway) -> None:
    audits = await printed_by("audit.mjs", f"{gateway.client.base_url}/graphql".replace("//graphql", "/graphql"))
    failed = [(each["id"], each["name"], each["reason"]) for each in audits if each["status"] != "ok"]
    assert failed == []
    assert len(audits) == COUNT
