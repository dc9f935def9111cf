"""What the benchmark decides without running anything."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.bench.answer import AnswerError, differences, rows_of
from tests.bench.contenders import CONTENDERS
from tests.bench.report import Target
from tests.bench.workload import SCENARIOS, Cell, Kind


def _body(*rows: Mapping[str, Any]) -> bytes:
    return json.dumps({"data": {"sessions": {"nodes": rows}}}).encode()


def test_spelling_makes_no_difference() -> None:
    ours = {
        "startTime": "2026-11-20T12:00:00Z",
        "totalCost": "0.10",
        "traceTier": "LONGLIVED",
        "feedbackStats": [{"key": "a", "n": 1, "avg": 0.5}],
    }
    theirs = {
        "x3": "2026-11-20T14:00:00+02:00",
        "total_cost": "0.1",
        "trace_tier": "longlived",
        "feedback_stats": {"a": {"n": 1, "avg": 0.5, "stdev": 0.1}},
    }
    assert differences(rows_of(_body(ours), {}), rows_of(_body(theirs), {"x3": "start_time"})) == []


def test_another_value_is_named() -> None:
    ours, theirs = ({"runCount": count, "name": "a"} for count in (1, 2))
    assert differences(rows_of(_body(ours), {}), rows_of(_body(theirs), {})) == ["runCount"]


def test_an_answer_with_errors_is_refused() -> None:
    with pytest.raises(AnswerError, match="no such field"):
        rows_of(b'{"errors": [{"message": "no such field"}]}', {})


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_held_pages_are_asked_for_in_ever_other_documents(contender: str, scenario: str) -> None:
    dialect = CONTENDERS[contender].dialect
    bodies = [json.loads(body) for body in Cell(SCENARIOS[scenario], Kind.HELD).requests(dialect)]
    assert len({body["query"] for body in bodies}) == len(bodies) > 1
    assert all(body["variables"] == {"first": SCENARIOS[scenario].rows, "offset": 0} for body in bodies)


def test_a_target_is_met_from_either_side() -> None:
    assert Target("faster", 2, 2.5).verdict == "met"
    assert Target("smaller", 2, 2.5, at_least=False).verdict == "missed"
    assert Target("unknown", 2, None).verdict == "not measured"
