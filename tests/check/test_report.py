"""The report as JSON."""

from pathlib import Path

from tests.check.command import report


def test_json_contains_operations_requests_variables_and_findings() -> None:
    Path("a.graphql").write_text(
        "query A($n: Int!, $id: ID!, $s: String) {\n  sessions(first: $n, filter: {name: $s}) {\n    nodes "
        '{ name stats(last: "P1D") { runCount errorRate } }\n  }\n  session(id: $id) { nope }\n}\n'
    )
    found = report("a.graphql", GATEWAY_MAX_COST="2")
    (error,) = found.pop("findings")
    assert error == {
        "severity": "error",
        "code": "GRAPHQL_VALIDATION_FAILED",
        "message": error["message"],
        "file": "a.graphql",
        "line": 5,
        "column": 22,
        "also": [],
        "setting": None,
    }
    assert found["operations"][0]["cost"] is None
    Path("a.graphql").write_text(Path("a.graphql").read_text().replace("nope", "id"))
    found = report("a.graphql", GATEWAY_MAX_COST="2")
    assert [(each["code"], each["setting"]) for each in found.pop("findings")] == [
        ("OPERATION_TOO_EXPENSIVE", "GATEWAY_MAX_COST=2")
    ]
    path = "/api/v1/sessions"
    order = {"sort_by": "start_time", "sort_by_desc": "true"}
    statistics = {"include_stats": "true", "stats_select": ["run_count", "error_rate"]}
    assert found == {
        "operations": [
            {
                "kind": "query",
                "name": "A",
                "file": "a.graphql",
                "line": 1,
                "column": 1,
                "cost": 8,
                "requests": [
                    {"path": path, "params": {**order, "limit": "20"}},
                    {"path": path, "params": {"id": "<$id>", **order, "limit": "1"}},
                    {
                        "path": path,
                        "params": {
                            "id": "<the 20 rows above>",
                            **order,
                            "limit": "20",
                            **statistics,
                            "stats_start_time": "<now - P1D>",
                        },
                    },
                ],
                "parts": None,
                "assumed": {"n": 20, "id": "<$id>"},
                "leftOut": ["s"],
            }
        ],
        "maxCost": 2,
        "errors": 1,
        "warnings": 0,
    }
