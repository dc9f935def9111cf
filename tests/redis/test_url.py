"""RedisUrl parses each form of URL, and refuses others with one line that says what is wrong."""

from pathlib import Path

import pytest

from app.redis.url import RedisUrl

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisUrl(hosts=(("h", 6379),))),
        ("redis://h/", RedisUrl(hosts=(("h", 6379),))),
        ("redis://[::1]:7/2", RedisUrl(hosts=(("::1", 7),), options={"db": 2})),
        ("redis://:p%40%2Fs@h:1/3", RedisUrl(hosts=(("h", 1),), options={"password": "p@/s", "db": 3})),
        ("redis://u%3A:p@h", RedisUrl(hosts=(("h", 6379),), options={"username": "u:", "password": "p"})),
        ("redis://h?protocol=2&socket_timeout=0.1",
         RedisUrl(hosts=(("h", 6379),), options={"protocol": 2, "socket_timeout": 0.1})),
        ("rediss://h?ssl_cert_reqs=none",
         RedisUrl(hosts=(("h", 6379),), is_tls=True, options={"ssl_cert_reqs": "none"})),
        ("unix:///tmp/a%20b?db=2", RedisUrl(hosts=(), options={"path": "/tmp/a b", "db": 2})),
        ("unix://u:p@/tmp/a", RedisUrl(hosts=(), options={"path": "/tmp/a", "username": "u", "password": "p"})),
        ("redis+sentinel://a,b:3/m", RedisUrl(hosts=(("a", 26379), ("b", 3)), service="m")),
        ("rediss+sentinel://:p@[::1]:3/m%2F/4",
         RedisUrl(hosts=(("::1", 3),), service="m/", is_tls=True, options={"password": "p", "db": 4})),
        ("redis+cluster://a,b:3", RedisUrl(hosts=(("a", 6379), ("b", 3)), is_cluster=True)),
        ("rediss+cluster://:p@a/0",
         RedisUrl(hosts=(("a", 6379),), is_cluster=True, is_tls=True, options={"password": "p", "db": 0})),
    ],
)  # fmt: skip
def test_redis_url_is_parsed(url: str, address: RedisUrl) -> None:
    assert RedisUrl.parse(url) == address


CODES = "in a user name, password or option, / ? # and @ are written %2F %3F %23 and %40"
VALUE = "an option has a value that it does not take"


@pytest.mark.parametrize(
    ("url", "example", "wrong"),
    [
        *((url, "redis://:password", "it begins with redis, rediss, unix, redis+sentinel or redis+cluster, and ://")
          for url in ("", "redis", "memory", f"http://:{SECRET}@h", f"redis+{SECRET}://h")),
        *((url, "redis://:password", "a host is missing") for url in ("redis://", "rediss:///0", f"redis://:{SECRET}@")),
        *((f"redis://h:{port}", "redis://", "a port is a number from 1 to 65535")
          for port in ("0", "x", "65536", "-1")),
        *((f"redis://:{SECRET}{char}x@h", "redis://:password", CODES) for char in "/?#"),
        (f"redis://:{SECRET}%zz@h", "redis://:password", "a % that does not begin a code such as %2F is written %25"),
        (f"redis://:{SECRET}%ff@h", "redis://:password", "its % codes are not UTF-8, or its host is not valid"),
        (f"redis://:{SECRET}[@h", "redis://:password", "its % codes are not UTF-8, or its host is not valid"),
        (f"redis://:{SECRET}@h\n", "redis://:password", "a space is written %20, and line breaks do not belong here"),
        *((f"redis://h/{db}", "redis://", "a database is a number") for db in ("a", "-1", "1/2", "1.5", "\u0661")),
        ("redis://a,b", "redis://", "it has one host; several are written redis+sentinel:// or redis+cluster://"),
        *((f"redis://h?{option}", "redis://", "options, each once, are client_name, db, ")
          for option in (f"passwd={SECRET}", "decode_responses=1", "ssl_ca_certs=/a", "db=1&db=2", "host=a")),
        (f"redis://h?{SECRET}", "redis://", "an option is a name, = and a value"),
        ("redis://h?db=", "redis://", "an option has no value"),
        *((f"rediss://h?{option}", "redis://", VALUE)
          for option in ("db=x", "db=-1", "socket_timeout=nan", "socket_timeout=0", "max_connections=0", "protocol=4",
                         "ssl_cert_reqs=perhaps", "ssl_min_version=1", "ssl_include_verify_flags=X")),
        ("rediss://h?ssl_ca_certs=/nowhere", "redis://", "its ssl_ options cannot be used, No such file or directory"),
        *((f"unix://{path}", "unix:///run/redis.sock", "a path follows three slashes, and no host")
          for path in ("", "/", "tmp/a", f"u:{SECRET}@h/tmp/a")),
        *((f"redis+sentinel://:{SECRET}@a{path}", "redis+sentinel://", "the name of a service follows the sentinels")
          for path in ("", "/", "?db=1")),
        *((f"redis+sentinel://a/m/{db}", "redis+sentinel://", "a database is a number") for db in ("a", "1/2")),
        ("redis+sentinel://a,/m", "redis+sentinel://", "a host is missing"),
        *((f"redis+cluster://:{SECRET}@{rest}", "redis+cluster://", "a cluster has no database but 0")
          for rest in ("a/1", "a?db=1")),
        ("redis+cluster://a/m", "redis+cluster://", "a database is a number"),
        ("rediss+cluster://a?ssl_password=x", "redis+cluster://", "options, each once, are"),
    ],
)  # fmt: skip
def test_invalid_redis_url_is_refused_without_quoting_its_password(url: str, example: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^a Redis such as ") as refused:
        RedisUrl.parse(url)
    message = str(refused.value)
    assert message.startswith(f"a Redis such as {example}")
    assert f": {wrong}" in message
    assert SECRET not in message
    assert "\n" not in message


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "redis+cluster"])
def test_examples_in_the_messages_are_valid_urls(scheme: str) -> None:
    with pytest.raises(ValueError, match=r"a host is missing") as refused:
        RedisUrl.parse(f"{scheme}://")
    assert RedisUrl.parse(str(refused.value).split()[4].rstrip(":")).hosts


def test_file_without_certificates_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    file.write_text("none")
    with pytest.raises(ValueError, match=r"its ssl_ options cannot be used"):
        RedisUrl.parse(f"rediss://h?ssl_ca_certs={file}")


def test_repr_of_a_redis_url_shows_no_password() -> None:
    assert SECRET not in repr(RedisUrl.parse(f"redis://:{SECRET}@h?ssl_password={SECRET}".replace("redis:", "rediss:")))
