"""A page decodes to what was encoded, malformed values too; of several answers about it, the youngest values count."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.shared import codec
from app.cache.shared.page_bodies import PageBody, encode_page, pages_of, parse_body
from app.emulator import Emulator
from app.langsmith.v1 import V1
from app.langsmith.v2 import V2
from app.sessions.fields import FACETS, STATS
from app.sessions.page import Page
from app.sessions.query import ALL_RUNS, PageQuery
from app.sessions.row import decode_rows
from tests.cache.shared.test_codec import ODD, SESSION, TENANT, comparable
from tests.conftest import create_http_client

OTHER = "7c1a5bd0-6f0e-4a58-8b45-0a2e3a1d4c11"
ALL = frozenset(codec.STATISTICS)
SESSIONS = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys([*codec.COLUMNS[1:], *codec.STATISTICS], ODD)), max_size=3
)


def page_of(
    *sessions: dict[str, Any], statistics: frozenset[str] = ALL, at: float = 7.0, limit: int = 10, **values: Any
) -> Page:
    rows = [{"id": f"{number:08x}{SESSION[8:]}", "tenant_id": TENANT, **each} for number, each in enumerate(sessions)]
    query = PageQuery(statistics=statistics, limit=limit)
    body = json.dumps(rows).encode()
    return Page.from_rows(decode_rows(body), query, statistics=statistics, at=at, body_bytes=len(body), **values)


def body_of(page: Page) -> PageBody:
    stats = page.stats_by_window.get(ALL_RUNS)
    body = parse_body(b"".join(encode_page(page, ALL_RUNS)), page.fetched_at, tuple(stats.fetched_at) if stats else ())
    assert body
    return body


def assert_equal(page: Page | None, other: Page) -> None:
    assert page
    assert (page.limit, page.has_more, page.fetched_at) == (other.limit, other.has_more, other.fetched_at)
    for rows, others in ((page.rows, other.rows), (page.rows_in(ALL_RUNS), other.rows_in(ALL_RUNS))):
        assert [row and comparable(row) for row in rows] == [row and comparable(row) for row in others]
    times, other_times = (each.stats_by_window[ALL_RUNS].fetched_at for each in (page, other))
    assert times == other_times


@given(sessions=SESSIONS, has_more=st.sampled_from([None, False, True]))
def test_generated_pages_decode_to_what_was_encoded(sessions: list[dict[str, Any]], has_more: bool | None) -> None:
    page = page_of(*sessions, has_more=has_more)
    assert_equal(body_of(page).decode(ALL_RUNS), page)


@pytest.mark.parametrize("api", [V1(), V2()], ids=["v1", "v2"])
async def test_pages_of_the_emulator_decode_to_what_was_encoded(
    upstream_url: str, langsmith: Emulator, api: V1 | V2
) -> None:
    query = PageQuery(statistics=STATS | FACETS)
    async with create_http_client(upstream_url, key="demo") as client:
        answer = await client.get(api.path, params=[*api.params(query)])
    rows = api.parse(answer.content, lambda *_: None).rows
    assert len(rows) > 10
    page = Page.from_rows(rows, query, statistics=ALL, at=7.0, body_bytes=len(answer.content))
    assert_equal(body_of(page).decode(ALL_RUNS), page)


def test_feedback_that_was_parsed_is_encoded_as_it_was_received() -> None:
    page = page_of({"feedback_stats": {"correctness": {"n": 3, "avg": 0.5, "comments": ["yes"]}, "odd": None}})
    before = encode_page(page, ALL_RUNS)
    row: Any = page.rows[0]
    assert [stat.key for stat in row.feedback_stats_listed] == ["correctness", "odd"]
    assert encode_page(page, ALL_RUNS) == before
    assert [stat.key for stat in row.feedback_stats_listed] == ["correctness", "odd"]


@given(text=st.binary(max_size=40))
def test_bytes_that_are_no_page_are_not_decoded(text: bytes) -> None:
    assert parse_body(text, 7.0, ()) is None
    body = parse_body(b"10 1 - " + text, 7.0, ())
    assert body is not None
    assert body.decode(ALL_RUNS) is None


@pytest.mark.parametrize("head", [b"101 1 - ", b"1 2 - ", b"10 1 2 ", b"-1 1 - ", b"10  - "])
def test_impossible_page_is_not_decoded(head: bytes) -> None:
    assert parse_body(head + b"[]", 7.0, ()) is None


def test_page_has_each_statistic_of_the_answer_that_knows_it_best() -> None:
    older = page_of({"run_count": 1, "error_rate": 0.5}, statistics=frozenset({"run_count", "error_rate"}), at=1.0)
    younger = page_of({"run_count": 2, "name": "one"}, statistics=frozenset({"run_count"}), at=2.0)
    for bodies in ([older, younger], [younger, older]):
        [page] = pages_of(map(body_of, bodies), 10, ALL_RUNS)
        row: Any = page.rows_in(ALL_RUNS)[0]
        assert (row.run_count, row.error_rate, row.name) == (2, 0.5, "one")
        assert page.stats_by_window[ALL_RUNS].fetched_at == {"run_count": 2.0, "error_rate": 1.0}
        assert page.fetched_at == 2.0


def test_answer_with_enough_rows_goes_before_a_younger_one_that_is_too_short() -> None:
    longer = page_of({"run_count": 1}, {"run_count": 1}, limit=2, at=1.0)
    shorter = page_of({"run_count": 2}, limit=1, at=2.0)
    assert [len(page.rows) for page in pages_of([body_of(longer), body_of(shorter)], 2, ALL_RUNS)] == [2]
    assert [len(page.rows) for page in pages_of([body_of(longer), body_of(shorter)], 1, ALL_RUNS)] == [1]


def test_answer_about_other_rows_that_knows_a_statistic_better_is_returned_too() -> None:
    other_rows = page_of({"id": OTHER, "error_rate": 0.5}, statistics=frozenset({"error_rate"}), at=1.0)
    younger = page_of({"run_count": 2}, statistics=frozenset({"run_count"}), at=2.0)
    page, other = pages_of([body_of(other_rows), body_of(younger)], 10, ALL_RUNS)
    assert (page.fetched_at, other.fetched_at) == (2.0, 1.0)
    assert page.stats_by_window[ALL_RUNS].fetched_at == {"run_count": 2.0}
