"""A strict client of incremental delivery: it splits an answer into parts, checks their rules, and merges them."""

import json
from collections.abc import Sequence
from typing import Any

import httpx

DRAFT = "multipart/mixed;incrementalSpec=v0.2, application/json"
OLD = "multipart/mixed;deferSpec=20220824, application/json"
PART_TYPE = b"content-type: application/json; charset=utf-8"


def parts_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The payloads of a multipart answer."""
    assert response.headers["content-type"].startswith('multipart/mixed; boundary="-"; ')
    before, *parts = response.content.removesuffix(b"\r\n-----\r\n").split(b"\r\n---\r\n")
    assert before == b""
    assert response.content.endswith(b"\r\n-----\r\n")
    payloads: list[dict[str, Any]] = []
    for part in parts:
        head, _, body = part.partition(b"\r\n\r\n")
        assert head == PART_TYPE
        payloads.append(json.loads(body))
    return payloads


def merged(payloads: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer. Fails if the payloads break a rule of their format."""
    first, *later = payloads
    assert first["hasNext"] is True
    assert "incremental" not in first
    assert [each["hasNext"] for each in later] == [True] * (len(later) - 1) + [False]
    assert all("data" not in each for each in later)
    is_draft = "pending" in first
    answer = {"data": first["data"], "errors": [*first.get("errors", [])]}
    for payload in later if not is_draft else []:
        _merge_old(answer, payload)
    if is_draft:
        pending: dict[str, list[str | int]] = {}
        announced: set[str] = set()
        _announce(first, pending, announced)
        for payload in later:
            _announce(payload, pending, announced)
            _merge_draft(answer, payload, pending)
        assert not pending
    return answer if answer["errors"] else {"data": answer["data"]}


def _announce(payload: dict[str, Any], pending: dict[str, list[str | int]], announced: set[str]) -> None:
    for each in payload.get("pending", []):
        assert each["id"] not in announced
        announced.add(each["id"])
        pending[each["id"]] = each["path"]


def _merge_draft(answer: dict[str, Any], payload: dict[str, Any], pending: dict[str, list[str | int]]) -> None:
    for entry in payload["incremental"]:
        place = [*pending[entry["id"]], *entry.get("subPath", [])]
        target = _at(answer["data"], place)
        for key, value in entry["data"].items():
            assert key not in target, f"{key} was sent twice at {place}"
            target[key] = value
        answer["errors"] += entry.get("errors", [])
    for each in payload["completed"]:
        assert each.keys() == {"id"}
        del pending[each["id"]]


def _merge_old(answer: dict[str, Any], payload: dict[str, Any]) -> None:
    assert payload.keys() <= {"incremental", "hasNext", "extensions"}
    for entry in payload["incremental"]:
        assert isinstance(entry["data"], dict)
        _merge_objects(_at(answer["data"], entry["path"]), entry["data"])
        answer["errors"] += entry.get("errors", [])


def _at(data: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        data = data[key]
    return data


def _merge_objects(target: Any, source: Any) -> None:
    if isinstance(source, list):
        for one, other in zip(target, source, strict=True):
            _merge_objects(one, other)
        return
    for key, value in source.items():
        if isinstance(value, dict | list) and isinstance(target.get(key), dict | list) and _is_mergeable(value):
            _merge_objects(target[key], value)
        else:
            assert target.get(key, value) == value
            target[key] = value


def _is_mergeable(value: Any) -> bool:
    """Whether the value is an object, or a list of objects. Opaque values are replaced as a whole."""
    return isinstance(value, dict) or all(isinstance(each, dict) for each in value)
