"""Origins in settings are spelled as browsers send them, or refused with what to write instead."""

import pytest

from app.origins import normalize_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("*", "*"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("HTTPS://A.Example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80/", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://a.example:08443", "https://a.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
    ],
)
def test_an_origin_whose_meaning_is_certain_is_spelled_as_browsers_do(text: str, origin: str) -> None:
    assert normalize_origin(text) == origin


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://*.example.com", "an origin has no wildcards: list each origin, or write * alone"),
        ("https://a.example/path", "an origin has no path and no query: write https://a.example"),
        ("https://a.example:443/?token=secret", "an origin has no path and no query: write https://a.example"),
        ("https://a.example#secret", "an origin has no path and no query: write https://a.example"),
        ("a.example", "an origin begins with its scheme: write https://a.example"),
        ("A.example:8443/", "an origin begins with its scheme: write https://a.example:8443"),
        ("localhost:3000", "an origin begins with its scheme: write http://localhost:3000"),
        ("https://me:secret@a.example", "must not contain a user name or a password"),
        ("secret@a.example", "must not contain a user name or a password"),
        ("https://b\u00fccher.example", "a host is in ASCII, as browsers send it"),
        ("null", "null is the origin of every sandboxed page"),
        *(
            (text, "must be origins such as https://dashboard.example.com, separated by commas")
            for text in (
                "",
                "https://",
                "ftp://a",
                "//a",
                "https://a b",
                "https://[::1",
                "https://[:::1]",
                "https://a:0",
                "https://a:70000",
                "https://a.example;https://b.example",
                '["https://a.example"]',
            )
        ),
    ],
)
def test_what_no_browser_sends_is_refused_with_what_to_write_instead(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        normalize_origin(text)
    assert str(error.value).startswith(reason)
    assert "secret" not in str(error.value)
