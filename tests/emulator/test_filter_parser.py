"""Filter expressions are parsed strictly."""

import httpx
import pytest

UNREADABLE = [
    "",
    "name",
    '"x"',
    'eq(name, "x"',
    'eq(name, "x"))',
    'eq(name "x")',
    "eq(name, x)",
    'eq("x", name)',
    "eq(name)",
    'like(name, "x")',
    'eq(nme, "x")',
    'eq(name, "x',
    "and()",
    "and(name)",
    'in(name, "x")',
    "in(name, [name])",
    'gt(start_time, "soon")',
    "gt(start_time, null)",
    "gt(start_time, 5)",
    "eq(name, ?)",
    "not(" * 2000,
]


@pytest.mark.parametrize("parameter", ["filter", "stats_filter"])
@pytest.mark.parametrize("text", UNREADABLE, ids=[text[:20] for text in UNREADABLE])
async def test_an_invalid_filter_expression_is_refused_with_a_reason(
    client: httpx.AsyncClient, parameter: str, text: str
) -> None:
    response = await client.get("/sessions", params={parameter: text})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"Invalid {parameter}: ")
