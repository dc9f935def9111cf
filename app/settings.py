"""Settings, from the environment and `.env`: a line each.

`LANGSMITH_…` are names of the vendor's SDK, which has others that are none of ours; everything else is `GATEWAY_…`.
An unknown `GATEWAY_…` name, or a value that cannot be used, stops the start: silently ignored settings cost more than
refused ones.
"""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.credentials import is_one_line
from app.errors import SettingsError
from app.redis.url import RedisUrl
from app.resilience.rate import Rate

MEMORY: Final = "memory://"
"""URL of a store in the memory of this process."""
_PREFIX: Final = "GATEWAY_"
_Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
_Names = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    langsmith_endpoint: str = Field("https://api.smith.langchain.com", validation_alias="LANGSMITH_ENDPOINT")
    langsmith_api_key: SecretStr | None = Field(None, validation_alias="LANGSMITH_API_KEY")
    langsmith_workspace_id: str | None = Field(None, validation_alias="LANGSMITH_WORKSPACE_ID")
    auth: Literal["passthrough", "server"] = "passthrough"
    client_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    allow_anonymous: bool = False
    cache_url: SecretStr = SecretStr(MEMORY)
    cache_ttl: _Seconds = 15
    cache_stale: _Seconds = 60
    cache_max_bytes: Annotated[int, Field(ge=0)] = 268_435_456
    responses_max_bytes: Annotated[int, Field(ge=0)] = 67_108_864
    upstream_timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30
    upstream_retries: Annotated[int, Field(ge=0, le=10)] = 2
    upstream_concurrency: Annotated[int, Field(ge=1, le=1000)] = 32
    upstream_rate: Annotated[Rate | None, NoDecode] = None
    cors_origins: _Names = ()
    client_rate: Annotated[Rate | None, NoDecode] = None
    client_rate_url: SecretStr = SecretStr(MEMORY)
    introspection: bool = True
    graphiql: bool = True
    explain: bool = True
    max_tokens: Annotated[int, Field(ge=1)] = 2000
    max_depth: Annotated[int, Field(ge=1)] = 12
    max_aliases: Annotated[int, Field(ge=0)] = 30
    max_cost: Annotated[int, Field(ge=1)] = 1000
    trusted_documents: Path | None = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def load(cls, **instead: Any) -> Self:
        """From the environment and `.env` in the working directory; `instead` overrides both. Raises SettingsError."""
        _refuse_unknown_names(_known_names(cls))
        try:
            return cls(**instead)
        except ValidationError as exc:
            raise SettingsError(_one_line(exc, cls)) from None

    @field_validator("client_tokens", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("client_rate", "upstream_rate", mode="before")
    @classmethod
    def _is_rate(cls, value: object) -> object:
        return (Rate.parse(value) if value else None) if isinstance(value, str) else value

    @field_validator("trusted_documents", mode="before")
    @classmethod
    def _is_path(cls, value: object) -> object:
        return value or None

    @field_validator("cache_url", "client_rate_url")
    @classmethod
    def _is_store(cls, value: SecretStr) -> SecretStr:
        """It may hold a password, so it is a secret."""
        if (url := value.get_secret_value()) != MEMORY:
            try:
                RedisUrl.parse(url)
            except ValueError as exc:
                raise ValueError(f"must be {MEMORY}, or {exc}") from None
        return value

    @field_validator("langsmith_endpoint")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = _parts_of(value)
        if parts is None or parts.query or parts.fragment:
            raise ValueError("must be an http(s) URL, such as https://eu.api.smith.langchain.com")
        if parts.username or parts.password:
            raise ValueError("must hold no user name or password")
        return value.rstrip("/")

    @field_validator("langsmith_api_key", "client_tokens", "langsmith_workspace_id")
    @classmethod
    def _is_header_value(cls, value: Any) -> Any:
        for each in value if isinstance(value, tuple) else (value,):
            text = each.get_secret_value() if isinstance(each, SecretStr) else each
            if text and (not text.isascii() or not is_one_line(text.encode())):
                raise ValueError("must be one line of visible ASCII, such as lsv2_pt_0123456789")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = _parts_of(origin)
            if origin != "*" and (parts is None or origin != f"{parts.scheme}://{parts.netloc}"):
                raise ValueError("must be origins such as https://dashboard.example.com, separated by commas")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.auth == "server":
            if not (self.langsmith_api_key and self.langsmith_api_key.get_secret_value()):
                raise ValueError("LANGSMITH_API_KEY: must be set with GATEWAY_AUTH=server")
            if bool(self.client_tokens) == self.allow_anonymous:
                raise ValueError(
                    "GATEWAY_CLIENT_TOKENS: with GATEWAY_AUTH=server, set either the tokens that clients must show, "
                    "or GATEWAY_ALLOW_ANONYMOUS=true to serve anybody"
                )
        elif self.client_tokens or self.allow_anonymous:
            name = "GATEWAY_CLIENT_TOKENS" if self.client_tokens else "GATEWAY_ALLOW_ANONYMOUS"
            raise ValueError(f"{name}: goes with GATEWAY_AUTH=server only")
        return self


def _known_names(settings: type[Settings]) -> dict[str, str]:
    """From each variable's name to its field's."""
    return {
        str(field.validation_alias or f"{_PREFIX}{name.upper()}"): name for name, field in settings.model_fields.items()
    }


_REMOVED: Final = {
    "GATEWAY_CACHE_ACTIVITY_CHECK": "this setting was removed, because it could show wrong statistics. Leave it out.",
}


def _parts_of(url: str) -> SplitResult | None:
    """None where it is no http(s) URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_url = parts.scheme in {"http", "https"} and parts.hostname and not any(each.isspace() for each in url)
    return parts if is_url else None


def _refuse_unknown_names(known: dict[str, str]) -> None:
    # Without the prefix, which makes any two names look alike.
    short = {name.removeprefix(_PREFIX): name for name in known}
    for name in sorted({**_in_file(), **os.environ}):
        if name.upper() in _REMOVED:
            raise SettingsError(f"{name}: {_REMOVED[name.upper()]}")
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), short, n=1)
            hint = f" Did you mean {short[close[0]]}?" if close else ""
            raise SettingsError(f"{name}: there is no such setting.{hint} The README lists them all.")


def _in_file() -> dict[str, str | None]:
    try:
        return dotenv_values(".env") if Path(".env").is_file() else {}
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(
            ".env: it cannot be read as UTF-8 text. Each line must be as GATEWAY_CACHE_TTL=15."
        ) from exc


def _one_line(exc: ValidationError, settings: type[Settings]) -> str:
    first = exc.errors(include_input=False, include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    given = str(first["loc"][0])
    name = next((name for name, field in _known_names(settings).items() if given in {name, field}), given)
    default = settings.model_fields[_known_names(settings)[name]].default if name in _known_names(settings) else None
    example = f" (the default is {_as_text(default)})" if default not in (None, ()) else ""
    return f"{name}: {message[0].lower()}{message[1:]}{example}"


def _as_text(value: object) -> str:
    """Of a default, which is never a secret."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)
