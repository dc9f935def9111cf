"""No data of one tenant reaches another, and a credential exists only in the request that carries it."""

import asyncio
import gc
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from app.credentials import Credential
from app.emulator import Emulator, Fault
from tests.conftest import Gateway, Serve, take_recorded_params
from tests.support.raw_upstream import Connection, raw_upstream, response, row
from tests.test_command_line import DEMO, SERVE, running

SECRET = "lsv2_pt_MARKER"
QUERY = "{ sessions(first: 2) { nodes { id name runCount } } }"
TENANTS: dict[str, dict[str, str]] = {
    "a key": {"x-api-key": "one"},
    "another key": {"x-api-key": "other"},
    "a key in a workspace": {"x-api-key": "one", "x-tenant-id": "a"},
    "a key in another workspace": {"x-api-key": "one", "x-tenant-id": "b"},
    "a key in an organisation": {"x-api-key": "one", "x-organization-id": "a"},
    "a token": {"authorization": "Bearer one"},
    "a token of the key's name": {"authorization": "one"},
    "a token in a workspace": {"authorization": "Bearer one", "x-tenant-id": "a"},
    "a token in an organisation": {"authorization": "Bearer one", "x-organization-id": "a"},
    "a key and a token": {"x-api-key": "one", "authorization": "Bearer one"},
}


async def answer_with_tenant(connection: Connection) -> None:
    """Answer with one session, named after all headers that identify the tenant."""
    shown = sorted(
        (name, value)
        for name, value in connection.request.headers
        if name in {"x-api-key", "authorization", "x-tenant-id", "x-organization-id"}
    )
    await connection.send(response(json.dumps([row(name=str(shown))]).encode()))


async def name_seen(gateway: Gateway, headers: dict[str, str], query: str = QUERY) -> str:
    body = (await gateway.post(query, None, key=None, **headers)).json()
    name: str = body["data"]["sessions"]["nodes"][0]["name"]
    return name


async def test_each_tenant_gets_only_its_own_pages_and_cached_responses(serve: Serve) -> None:
    async with raw_upstream(answer_with_tenant) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for _ in range(4):
            for headers in TENANTS.values():
                assert await name_seen(gateway, headers) == str(sorted(headers.items()))
        assert len(upstream.requests) == len(TENANTS)


async def test_requests_in_flight_are_not_shared_between_tenants(serve: Serve) -> None:
    gate = asyncio.Event()

    async def answer_when_open(connection: Connection) -> None:
        await gate.wait()
        await answer_with_tenant(connection)

    async with raw_upstream(answer_when_open) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        asking = asyncio.gather(*(name_seen(gateway, headers) for headers in TENANTS.values()))
        await upstream.wait_for_requests(len(TENANTS))
        gate.set()
        assert await asking == [str(sorted(headers.items())) for headers in TENANTS.values()]


async def test_unknown_session_of_one_tenant_is_found_by_another(gateway: Gateway, langsmith: Emulator) -> None:
    [node] = (await gateway.data("{ sessions(first: 1) { nodes { id } } }"))["sessions"]["nodes"]
    query = f'{{ session(id: "{node["id"]}") {{ name }} }}'
    for _ in range(2):
        assert (await gateway.data(query, key="demo-2"))["session"] is None
        assert (await gateway.data(query))["session"] is not None
    # The tenant that can see the session has it cached from the page.
    assert len(take_recorded_params(langsmith)) == 2


async def test_refused_tenant_does_not_affect_another_tenant(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=403))
    assert [error["extensions"]["code"] for error in await gateway.errors(QUERY)] == ["FORBIDDEN"]
    assert await gateway.data(QUERY, key="demo-2")


def texts_within(root: object) -> Iterator[str]:
    """Every text that can be reached from an object, except through the event loop or a socket."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        if isinstance(each, str):
            yield each
        elif isinstance(each, bytes):
            yield each.decode("latin-1")
        elif isinstance(each, FunctionType):
            waiting += [*(each.__closure__ or ()), *(each.__defaults__ or ())]  # not the globals of its module
        elif not isinstance(each, ModuleType | asyncio.AbstractEventLoop | asyncio.BaseTransport):
            waiting += gc.get_referents(each)


async def test_no_credential_stays_in_memory_log_or_metrics_after_its_request(
    serve: Serve, langsmith: Emulator
) -> None:
    headers = {
        "x-api-key": SECRET,
        "authorization": f"Bearer {SECRET}",
        "x-tenant-id": SECRET,
        "x-organization-id": SECRET,
    }
    langsmith.workspaces[SECRET] = langsmith.workspaces["demo"]
    async with serve(upstream_retries=0) as gateway:
        answers = [
            await gateway.post(query, None, key=None, **shown, **{"x-gateway-explain": explain})
            for shown in ({"x-api-key": SECRET}, headers)
            for explain in ("0", "1")
            for query in (QUERY, QUERY, "{ nope }", "{", '{ session(id: "x") { id } }')
        ]
        for fault in (Fault(status=500), Fault(status=401), Fault(body=b"{"), Fault(hang_up=True)):
            langsmith.faults.append(fault)
            answers.append(await gateway.post(QUERY.replace("2", "3"), None, key=SECRET))
        metrics = (await gateway.client.get("/metrics")).text
        for text in (*(answer.text for answer in answers), metrics, gateway.log.getvalue()):
            assert SECRET not in text
        for answer in answers:
            assert SECRET not in str(answer.headers)
        assert any(answer.status_code == 200 and "errors" not in answer.json() for answer in answers)
        del answers
        front: Any = gateway.app
        assert not any(SECRET in text for text in texts_within(front.asgi_app))


def test_credential_is_not_part_of_its_representation() -> None:
    credential = Credential.of("https://api.smith.langchain.com", {"x-api-key": SECRET}, hash_key=b"key")
    printed = "".join(traceback.format_exception(ValueError(credential)))
    assert SECRET not in f"{credential!r} {credential} {credential.scope} {credential.client} {printed}"


@pytest.mark.parametrize("arguments", [SERVE, DEMO], ids=["serve", "demo"])
def test_command_line_of_a_process_contains_no_credential(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    own = {"GATEWAY_AUTH": "server", "GATEWAY_CLIENT_TOKENS": SECRET, "LANGSMITH_API_KEY": SECRET}
    with running(*arguments, cwd=tmp_path, **own) as server:
        assert SECRET.encode() not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert SECRET not in server.post("{ __typename }").text
