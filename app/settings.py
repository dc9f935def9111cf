"""Settings, read from environment variables and `.env`. Each field is a setting; its description is the reference.

Variables that begin with `LANGSMITH_` have the names that LangSmith's own SDK uses; all others begin with `GATEWAY_`.
An unknown `GATEWAY_` name and an invalid value stop the start, because a misspelled setting would otherwise be ignored.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.credentials import is_header_value
from app.errors import SettingsError
from app.origins import normalize_origin
from app.resilience.rate import Rate
from app.settings_errors import ENV_FILE, describe_error, env_file_encoding, refuse_unknown_names, variable_names

MEMORY: Final = "memory://"
"""URL of a store in the memory of this process."""
_PREFIX: Final = "GATEWAY_"
_EVERY_ADDRESS: Final = ("0.0.0.0/0", "::/0")
_Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Settings(BaseSettings):
    """All settings. `Settings.load` reads them strictly; the constructor ignores unknown names in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=ENV_FILE,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    langsmith_endpoint: str = Field(
        "https://api.smith.langchain.com",
        validation_alias="LANGSMITH_ENDPOINT",
        description="Base URL of LangSmith: `https://eu.api.smith.langchain.com` for the EU, or "
        "`https://<host>/api` for a self-hosted LangSmith.",
    )
    langsmith_api_key: SecretStr | None = Field(
        None,
        validation_alias="LANGSMITH_API_KEY",
        description="API key of the gateway itself. Required with `GATEWAY_AUTH=server` and `serve --own-key`, "
        "otherwise unused.",
    )
    langsmith_workspace_id: str | None = Field(
        None,
        validation_alias="LANGSMITH_WORKSPACE_ID",
        description="Workspace of `LANGSMITH_API_KEY`, sent as the header `X-Tenant-Id`. Empty: it is not sent.",
    )
    auth: Literal["passthrough", "server"] = Field(
        "passthrough",
        description="Whose credential LangSmith gets. `passthrough`: the client's own, from the header `X-API-Key`, or "
        "`Authorization` with `X-Tenant-Id` or `X-Organization-Id`. `server`: `LANGSMITH_API_KEY` for every client; "
        "requests with LangSmith credentials are refused.",
    )
    client_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Bearer tokens that clients authenticate with, separated by commas. Only with "
        "`GATEWAY_AUTH=server`, which needs either tokens or `GATEWAY_ALLOW_ANONYMOUS`.",
    )
    allow_anonymous: bool = Field(False, description="With `GATEWAY_AUTH=server`: serve clients without a token.")
    cache_url: SecretStr = Field(
        SecretStr(MEMORY),
        description="Where pages, persisted queries and the upstream rate limit are stored. `memory://`: in each "
        "process. A Redis URL: shared by all processes that have the same URL. `redis://`, `rediss://` (TLS) and "
        "`unix://` are written as for redis-py, including its options such as `?ssl_ca_certs=…`. Also supported: "
        "`redis+sentinel://…@host:port,host:port/service/0` and `redis+cluster://…@host:port,host:port`, or "
        "`rediss+…` for TLS. Percent-encode reserved characters in a password.",
    )
    cache_ttl: _Seconds = Field(
        15,
        description="Seconds for which a cached page is fresh. `0` disables caching; equal requests that are in flight "
        "at the same time still share one request to LangSmith.",
    )
    cache_stale: _Seconds = Field(
        60,
        description="Seconds after `GATEWAY_CACHE_TTL` for which a stale page may be served, while it is refreshed in "
        "the background or while LangSmith fails. `0` never serves a stale page.",
    )
    cache_max_bytes: int = Field(
        268_435_456,
        ge=0,
        description="Size limit of the page cache in the memory of each process, in bytes. `0` stores no page.",
    )
    responses_max_bytes: int = Field(
        67_108_864,
        ge=0,
        description="Size limit of the response cache in the memory of each process, in bytes. `0` disables it.",
    )
    upstream_timeout: float = Field(
        30,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds for all requests of one operation to LangSmith, including retries.",
    )
    upstream_retries: int = Field(
        2,
        ge=0,
        le=10,
        description="Number of retries of a failed request to LangSmith that is safe to repeat. `0` disables them.",
    )
    upstream_concurrency: int = Field(
        32, ge=1, le=1000, description="Maximum number of requests to LangSmith in flight, in each process."
    )
    upstream_rate: Annotated[Rate | None, NoDecode] = Field(
        None,
        description="Maximum rate of requests to LangSmith for each credential, such as `900/10s`. It is counted in "
        "the Redis of `GATEWAY_CACHE_URL` for all processes, or else in each process. Empty: no limit.",
    )
    upstream_api: Literal["auto", "v1", "v2"] = Field(
        "auto",
        description="Version of LangSmith's API: `v1`, `v2`, or `auto` to ask version 1 as long as its list of "
        "sessions answers, and then version 2.",
    )
    upstream_project_types: Annotated[tuple[Literal["PROJECT", "AGENT"], ...], NoDecode] = Field(
        ("PROJECT", "AGENT"),
        min_length=1,
        description="Types of session that `referenceFree: true` means in version 2, separated by commas: `PROJECT`, "
        "`AGENT` or both.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of the web pages that may call the gateway, such as `https://dashboard.example.com`, "
        "separated by commas. `*` allows every origin. Empty: only pages of the gateway's own origin may.",
    )
    client_rate: Annotated[Rate | None, NoDecode] = Field(
        None,
        description="Maximum rate of requests of each client, such as `100/10s` or `600/m`. A client is a token, a "
        "credential that LangSmith has answered or, without either, an IP address. Empty: no limit.",
    )
    client_rate_url: SecretStr = Field(
        SecretStr(MEMORY),
        description="Where `GATEWAY_CLIENT_RATE` is counted. `memory://`: in each process. A Redis URL, written as for "
        "`GATEWAY_CACHE_URL`: for all processes; in each process while the Redis is unavailable.",
    )
    forwarded_allow_ips: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        validation_alias="FORWARDED_ALLOW_IPS",
        description="Addresses and networks of the proxies in front of the gateway, such as `127.0.0.1` or "
        "`10.0.0.0/8`, separated by commas. The IP address of a client is read from `X-Forwarded-For` only if one of "
        "them sends it. `*` believes everyone. Empty: nobody.",
    )
    introspection: bool = Field(
        True,
        description="`false` disables introspection, `/schema.graphql` and suggestions of field names in errors.",
    )
    graphiql: bool = Field(True, description="Whether a browser that opens `/graphql` gets GraphiQL.")
    fast_path: bool = Field(
        True,
        description="Whether requests whose head was seen before are answered without parsing that head again. `false` "
        "helps to find out whether this is the cause of a fault.",
    )
    explain: bool = Field(
        True,
        description="Whether `X-Gateway-Explain: 1` adds upstream requests, cache outcomes and cost to the response.",
    )
    max_tokens: int = Field(2000, ge=1, description="Maximum number of lexical tokens of a document.")
    max_depth: int = Field(12, ge=1, description="Maximum depth of nested fields of an operation.")
    max_aliases: int = Field(30, ge=0, description="Maximum number of aliases of an operation. `0` allows none.")
    max_cost: int = Field(
        150,
        ge=1,
        description="Maximum cost of an operation: 1 per request to LangSmith, 1 per statistic in a request, and 1 per "
        "100 rows of the answer and per further window or opaque value in them.",
    )
    trusted_documents: Path | None = Field(
        None,
        description="Path of a manifest of the only documents that may run, read at the start. Empty: any may run.",
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="Format of the log: `console` for people, `json` for one JSON object per line."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged: `debug`, `info`, `warning` or `error`."
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """The settings from the environment, and from `.env` in the working directory where a variable is not set.

        `overrides` take precedence over both, by field name. Raises SettingsError for an unknown name, an invalid
        value, and a line of `.env` that is none.
        """
        names = variable_names(cls)
        refuse_unknown_names(names, _PREFIX)
        try:
            return cls(**overrides | {"_env_file_encoding": env_file_encoding()})
        except ValidationError as exc:
            raise SettingsError(describe_error(exc, cls, names)) from None

    @field_validator("auth", "log_format", "log_level", "upstream_api", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("client_tokens", "cors_origins", "upstream_project_types", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("client_rate", "upstream_rate", mode="before")
    @classmethod
    def _parse_rate(cls, value: object) -> object:
        return (Rate.parse(value) if value else None) if isinstance(value, str) else value

    @field_validator("forwarded_allow_ips", mode="before")
    @classmethod
    def _parse_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        texts = [text for part in parts for text in (_EVERY_ADDRESS if part == "*" else (part,))]
        try:
            return tuple(ip_network(text, strict=False) for text in texts)
        except ValueError:
            raise ValueError("must be IP addresses or networks such as 10.0.0.0/8, separated by commas, or *") from None

    @field_validator("trusted_documents", mode="before")
    @classmethod
    def _empty_path_as_none(cls, value: object) -> object:
        return value or None

    @field_validator("cache_url", "client_rate_url")
    @classmethod
    def _check_store_url(cls, value: SecretStr) -> SecretStr:
        # The URL is a secret because it may contain a password.
        if (url := value.get_secret_value()) != MEMORY:
            from app.redis.url import RedisUrl  # noqa: PLC0415 - redis-py is slow to import, and mostly not needed

            try:
                RedisUrl.parse(url)
            except ValueError as exc:
                raise ValueError(f"must be {MEMORY}, or {exc}") from None
        return value

    @field_validator("langsmith_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        parts = _split_http_url(value)
        if parts is None or parts.query or parts.fragment:
            raise ValueError("must be an http(s) URL, such as https://eu.api.smith.langchain.com")
        if parts.username or parts.password:
            raise ValueError("must not contain a user name or a password")
        return value.rstrip("/")

    @field_validator("langsmith_api_key", "client_tokens", "langsmith_workspace_id")
    @classmethod
    def _check_header_value(cls, value: Any) -> Any:
        for each in value if isinstance(value, tuple) else (value,):
            text = each.get_secret_value() if isinstance(each, SecretStr) else each
            if text and (not text.isascii() or not is_header_value(text.encode())):
                raise ValueError("must be one line of visible ASCII, such as lsv2_pt_0123456789")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _normalize_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(normalize_origin, value)))

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        if self.auth == "server":
            if not (self.langsmith_api_key and self.langsmith_api_key.get_secret_value()):
                raise ValueError("LANGSMITH_API_KEY: must be set with GATEWAY_AUTH=server")
            if bool(self.client_tokens) == self.allow_anonymous:
                raise ValueError(
                    "GATEWAY_CLIENT_TOKENS: with GATEWAY_AUTH=server, set either the tokens that clients must send, "
                    "or GATEWAY_ALLOW_ANONYMOUS=true to serve every client"
                )
        elif self.client_tokens or self.allow_anonymous:
            name = "GATEWAY_CLIENT_TOKENS" if self.client_tokens else "GATEWAY_ALLOW_ANONYMOUS"
            raise ValueError(f"{name}: can only be set with GATEWAY_AUTH=server")
        return self


def _split_http_url(url: str) -> SplitResult | None:
    """The parts of an http(s) URL; None for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return None
    is_http_url = parts.scheme in {"http", "https"} and parts.hostname and not any(each.isspace() for each in url)
    return parts if is_http_url else None
