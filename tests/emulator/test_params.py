"""Parameters are parsed strictly."""

from uuid import UUID

import httpx
import pytest

REFUSED = [
    ("limt=1", ["limt"], "extra_forbidden"),
    ("limit=1&limit=2", ["limit"], "int_type"),
    ("name=a&name=b", ["name"], "string_type"),
    ("include_stats=true&include_stats=true", ["include_stats"], "bool_type"),
    ("limit=0", ["limit"], "greater_than_equal"),
    ("limit=101", ["limit"], "less_than_equal"),
    ("limit=ten", ["limit"], "int_parsing"),
    ("offset=-1", ["offset"], "greater_than_equal"),
    ("include_stats=1", ["include_stats"], "bool_type"),
    ("include_stats=", ["include_stats"], "bool_type"),
    ("facets=yes", ["facets"], "bool_type"),
    ("id=1", ["id", 0], "uuid_parsing"),
    (f"id={UUID(int=1)}&id=1", ["id", 1], "uuid_parsing"),
    ("reference_dataset=x", ["reference_dataset", 0], "uuid_parsing"),
    ("tag_value_id=", ["tag_value_id", 0], "uuid_parsing"),
    ("sort_by=latency", ["sort_by"], "literal_error"),
    ("sort_by=START_TIME", ["sort_by"], "literal_error"),
    ("sort_by=feedback", ["sort_by_feedback_key"], "value_error"),
    ("sort_by_feedback_source=app", ["sort_by_feedback_source"], "literal_error"),
    ("metadata=x", ["metadata"], "value_error"),
    ("metadata=[1]", ["metadata"], "dict_type"),
    ("stats_select=runCount", ["stats_select", 0], "value_error"),
    ("stats_select=run_count,error_rate", ["stats_select", 0], "value_error"),
    ("stats_select=name", ["stats_select", 0], "value_error"),
    ("stats_start_time=yesterday", ["stats_start_time"], "datetime_from_date_parsing"),
]


@pytest.mark.parametrize(("query", "place", "kind"), REFUSED, ids=[query for query, *_ in REFUSED])
async def test_an_undefined_or_invalid_parameter_is_refused(
    client: httpx.AsyncClient, query: str, place: list[str | int], kind: str
) -> None:
    response = await client.get(f"/api/v1/sessions?{query}")
    assert response.status_code == 422
    (error,) = response.json()["detail"]
    assert error.keys() >= {"type", "loc", "msg", "input"}
    assert error["loc"] == ["query", *place]
    assert error["type"] == kind
