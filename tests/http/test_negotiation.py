"""`Accept` and `Cache-Control` are parsed as RFC 9110 and RFC 9111 say."""

import pytest

from app.http.errors import HTTPError
from app.http.negotiation import negotiate_media_type, parse_accept, parse_max_age, prefers_html


@pytest.mark.parametrize(
    ("accept", "qualities"),
    [
        ("", {"": 1.0}),
        ("text/html", {"text/html": 1.0}),
        ("TEXT/HTML ; charset=utf-8 ; Q=0.5", {"text/html": 0.5}),
        ("a/b;q=0, c/d;q=1.000, e/f;q=0.001", {"a/b": 0.0, "c/d": 1.0, "e/f": 0.001}),
        ("a/b;q=best, c/d;q=2, e/f;q=, g/h;q=., i/j;q=-1, k/l", {"k/l": 1.0}),
        ("a/b;q=.2, c/d;q= 0. ,e/f;q=0.1234, g/h;q=1.5", {"a/b": 0.2, "c/d": 0.0, "e/f": 0.1234, "g/h": 1.0}),
        ("a/b, " + "c/d, " * 99 + "e/f", {"a/b": 1.0, "c/d": 1.0}),
        ("a/b" + ";x=1" * 9 + ";q=0", {"a/b": 1.0}),
        ("text/html, *; q=.2", {"text/html": 1.0, "*/*": 0.2}),
    ],
)
def test_accept_header_is_parsed_into_qualities_by_media_range(accept: str, qualities: dict[str, float]) -> None:
    assert parse_accept(accept) == qualities


@pytest.mark.parametrize(
    ("accept", "is_preferred"),
    [
        ("text/html", True),
        ("text/html, application/json;q=0.9", True),
        ("text/html, application/json", False),
        ("text/html;q=0.8, application/graphql-response+json;q=0.9", False),
        ("text/html;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_html_is_preferred_only_if_it_is_named_above_json(accept: str, is_preferred: bool) -> None:
    assert prefers_html(accept) is is_preferred


def test_negotiation_fails_with_406_if_the_client_accepts_no_json() -> None:
    with pytest.raises(HTTPError) as refused:
        negotiate_media_type("text/html, application/json;q=0")
    assert refused.value.status == 406


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", None),
        ("no-store", None),
        ("max-age=60", 60.0),
        ('private, MAX-AGE = "5"', 5.0),
        ("max-age=60, no-cache", 0.0),
        ("max-age=60, max-age=10", 10.0),
        ("max-age=-1", None),
        ("x-max-age=3", None),
    ],
)
def test_cache_control_is_parsed_into_the_greatest_accepted_age(cache_control: str, seconds: float | None) -> None:
    assert parse_max_age(cache_control) == seconds
