"""The gateway passes the audits of GraphQL over HTTP in npm's `graphql-http`."""

from tests.clients.node import json_of, needs_node
from tests.conftest import Gateway

COUNT = 61


@needs_node
async def test_every_audit_of_graphql_over_http_passes(gateway: Gateway) -> None:
    audits = await json_of("audit.mjs", f"{gateway.client.base_url}/graphql".replace("//graphql", "/graphql"))
    failed = [(audit["id"], audit["name"], audit["reason"]) for audit in audits if audit["status"] != "ok"]
    assert failed == []
    assert len(audits) == COUNT
