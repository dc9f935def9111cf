"""Feedback: LangSmith's map by feedback key is a list, in LangSmith's order or in that of the `keys` argument."""

from typing import Any

import msgspec
import pytest

from app.emulator import Emulator, Fault
from app.sessions.feedback import FeedbackMap, as_list
from tests.conftest import Gateway, Serve, take_recorded_params

STATS: dict[str, Any] = {
    "correctness": {
        "n": 9, "avg": 0.667, "stdev": 0.1, "errors": 2, "min": 0, "max": 1, "median": 0.5,
        "values": {"CORRECT": 6, "INCORRECT": 3}, "comments": ["Right on."], "sources": ["api", {"type": "app"}],
        "contains_thread_feedback": False,
    },
    "Category": {"n": 0, "avg": None, "values": {"A": 2}},
    "über 🔥": {},
    "none": None,
}  # fmt: skip
ALL = "{ key n avg stdev errors min max median values raw }"


def sends(langsmith: Emulator, feedback: object, field: str = "feedback_stats") -> None:
    def rewrite(rows: list[dict[str, Any]]) -> None:
        rows[0][field] = feedback

    langsmith.faults.append(Fault(rewrite=rewrite))


async def feedback(gateway: Gateway, langsmith: Emulator, stats: object, selection: str) -> Any:
    sends(langsmith, stats)
    data = await gateway.data(f"{{ sessions(first: 1) {{ nodes {{ feedbackStats{selection} }} }} }}")
    return data["sessions"]["nodes"][0]["feedbackStats"]


async def test_each_feedback_key_is_an_entry_with_all_its_values(gateway: Gateway, langsmith: Emulator) -> None:
    entries = await feedback(gateway, langsmith, STATS, ALL)
    assert [entry["key"] for entry in entries] == ["correctness", "Category", "über 🔥", "none"]
    first = entries[0]
    assert {name: first[name] for name in ("n", "avg", "stdev", "errors", "min", "max", "median", "values")} == {
        name: STATS["correctness"][name] for name in ("n", "avg", "stdev", "errors", "min", "max", "median", "values")
    }
    assert [entry["raw"] for entry in entries] == list(STATS.values())


async def test_categorical_feedback_key_has_labels_and_no_mean(gateway: Gateway, langsmith: Emulator) -> None:
    entry = (await feedback(gateway, langsmith, STATS, ALL))[1]
    assert (entry["n"], entry["avg"], entry["values"], entry["median"]) == (0, None, {"A": 2}, None)


@pytest.mark.parametrize("place", [2, 3], ids=["an empty entry", "a null entry"])
async def test_empty_feedback_entry_has_nulls(place: int, gateway: Gateway, langsmith: Emulator) -> None:
    entry = (await feedback(gateway, langsmith, STATS, ALL))[place]
    assert entry.pop("key")
    assert entry.pop("raw") in ({}, None)
    assert set(entry.values()) == {None}


CHOSEN = {
    '["Category", "correctness"]': ["Category", "correctness"],
    '["unknown", "none", "category"]': ["none"],
    "[]": [],
    '["unknown"]': [],
    "null": list(STATS),
    '"correctness"': ["correctness"],
}


async def test_keys_argument_selects_entries_and_their_order(gateway: Gateway, langsmith: Emulator) -> None:
    sends(langsmith, STATS)
    aliases = " ".join(f"k{place}: feedbackStats(keys: {keys}) {{ key }}" for place, keys in enumerate(CHOSEN))
    data = await gateway.data(f"{{ sessions(first: 1) {{ nodes {{ {aliases} }} }} }}")
    (node,) = data["sessions"]["nodes"]
    assert [[entry["key"] for entry in entries] for entries in node.values()] == list(CHOSEN.values())


async def test_keys_variable_without_a_value_selects_all_entries(gateway: Gateway) -> None:
    operation = "query ($k: [String!]) { sessions(first: 50) { nodes { feedbackStats(keys: $k) { key } } } }"
    everything = await gateway.data(operation)
    assert {entry["key"] for node in everything["sessions"]["nodes"] for entry in node["feedbackStats"]} > {"accuracy"}
    some = await gateway.data(operation, {"k": ["accuracy"]})
    assert {entry["key"] for node in some["sessions"]["nodes"] for entry in node["feedbackStats"]} == {"accuracy"}


async def test_feedback_with_different_keys_is_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(
        """{ sessions { nodes { a: feedbackStats(keys: ["accuracy"]) { n } b: feedbackStats { key }
            sessionFeedbackStats { key } } } }"""
    )
    (request,) = take_recorded_params(langsmith)
    assert [value for name, value in request if name == "stats_select"] == ["feedback_stats", "session_feedback_stats"]


@pytest.mark.parametrize(("sent", "shown"), [(None, None), ({}, [])])
async def test_missing_feedback_is_null_or_empty_as_langsmith_sent_it(
    sent: object, shown: object, gateway: Gateway, langsmith: Emulator
) -> None:
    assert await feedback(gateway, langsmith, sent, ALL) == shown


async def test_malformed_part_of_feedback_fails_only_its_field(gateway: Gateway, langsmith: Emulator) -> None:
    malformed = {"a": {"n": "many", "avg": 0.5, "values": 7}, "b": {"n": 2, "avg": [], "min": True}, "c": {"n": 3}}
    sends(langsmith, malformed)
    body = await gateway.run("{ sessions(first: 1) { nodes { name f: feedbackStats { key n avg min values raw } } } }")
    at = ["sessions", "nodes", 0, "f"]
    assert {(*error["path"],): error["extensions"]["code"] for error in body["errors"]} == {
        (*at, 0, "n"): "UPSTREAM_MALFORMED",
        (*at, 1, "avg"): "UPSTREAM_MALFORMED",
        (*at, 1, "min"): "UPSTREAM_MALFORMED",
    }
    node = body["data"]["sessions"]["nodes"][0]
    assert node["name"]
    assert node["f"] == [
        {"key": "a", "n": None, "avg": 0.5, "min": None, "values": 7, "raw": malformed["a"]},
        {"key": "b", "n": 2, "avg": None, "min": None, "values": None, "raw": malformed["b"]},
        {"key": "c", "n": 3, "avg": None, "min": None, "values": None, "raw": malformed["c"]},
    ]


async def test_malformed_part_of_feedback_is_no_error_if_it_is_not_selected(
    gateway: Gateway, langsmith: Emulator
) -> None:
    entries = await feedback(gateway, langsmith, {"a": {"n": "many", "avg": 0.5}}, "{ key avg }")
    assert entries == [{"key": "a", "avg": 0.5}]


@pytest.mark.parametrize("entry", [5, "text", [1], True])
async def test_feedback_entry_that_is_not_an_object_keeps_key_and_raw(
    entry: object, gateway: Gateway, langsmith: Emulator
) -> None:
    sends(langsmith, {"a": entry})
    body = await gateway.run("{ sessions(first: 1) { nodes { feedbackStats { key avg raw } } } }")
    assert [error["path"][-2:] for error in body["errors"]] == [[0, "avg"]]
    assert body["data"]["sessions"]["nodes"][0]["feedbackStats"] == [{"key": "a", "avg": None, "raw": entry}]


@pytest.mark.parametrize("sent", [[], "text", 5, [{"key": "a"}], False])
async def test_feedback_that_is_not_a_map_fails_only_its_field(
    sent: object, gateway: Gateway, langsmith: Emulator
) -> None:
    sends(langsmith, sent, "session_feedback_stats")
    body = await gateway.run("{ sessions(first: 1) { nodes { name sessionFeedbackStats { key } } } }")
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (
        ["sessions", "nodes", 0, "sessionFeedbackStats"],
        "UPSTREAM_MALFORMED",
    )
    assert body["data"]["sessions"]["nodes"][0]["name"]


def sends_text(langsmith: Emulator, entry: str) -> None:
    row = f'{{"id":"{"1" * 32}","tenant_id":"{"2" * 32}","feedback_stats":{{"a":{entry}}}}}'
    langsmith.faults.append(Fault(body=f"[{row}]".encode()))


@pytest.mark.parametrize("number", ["9" * 5000, "1e99999999999999999999", "NaN", "-Infinity"])
async def test_feedback_number_out_of_range_fails_only_its_field(
    number: str, gateway: Gateway, langsmith: Emulator
) -> None:
    sends_text(langsmith, f'{{"avg":{number},"min":2}}')
    body = await gateway.run("{ sessions(first: 1) { nodes { id feedbackStats { avg } } } }")
    (error,) = body["errors"]
    assert error["path"][:4] == ["sessions", "nodes", 0, "feedbackStats"]
    assert error["extensions"]["code"] == "UPSTREAM_MALFORMED"
    assert body["data"]["sessions"]["nodes"][0]["id"]


@pytest.mark.parametrize("count", ["3", '"x"'], ids=["a valid entry", "an entry with a malformed part"])
async def test_deeply_nested_feedback_is_not_a_bug(count: str, serve: Serve, langsmith: Emulator) -> None:
    async with serve(cache_ttl=0) as gateway:
        for depth in (100, 900, *range(960, 1010, 5), 5000):
            sends_text(langsmith, f'{{"n":{count},"values":{"[" * depth}{"]" * depth}}}')
            response = await gateway.post("{ sessions(first: 1) { nodes { feedbackStats { key n } } } }")
            assert "INTERNAL_SERVER_ERROR" not in response.text


def test_feedback_maps_are_equal_if_their_json_is() -> None:
    one, same, other = (FeedbackMap(msgspec.Raw(text)) for text in (b'{"a":{}}', b'{"a":{}}', b'{"b":{}}'))
    as_list(one)
    assert (one == same, one != same) == (True, False)
    assert (one == other, one != other) == (False, True)
