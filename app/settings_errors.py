"""Errors of settings, in one line each: unknown variable names, lines of `.env` that are none, and invalid values."""

import difflib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from app.errors import SettingsError
from app.text_files import decode_text, encoding_of

ENV_FILE: Final = ".env"
_NOT_SETTINGS: Final = {
    "GATEWAY_CACHE_ACTIVITY_CHECK": "this setting was removed, because it could show wrong statistics. Leave it out.",
    "GATEWAY_HOST": "this is an option of the command. Use `serve --host`.",
    "GATEWAY_PORT": "this is an option of the command. Use `serve --port`.",
    "GATEWAY_WORKERS": "this is an option of the command. Use `serve --workers`.",
}
_KUBERNETES: Final = re.compile(
    r"GATEWAY(_[A-Z0-9_]+)?_"
    r"(SERVICE_HOST=.*|SERVICE_PORT(_[A-Z0-9_]+)?=\d+"
    r"|PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.*|PORT_\d+_(TCP|UDP|SCTP)_(ADDR|PORT|PROTO)=.*)"
)
"""Documented: the variables that Kubernetes sets in every container for a service of the same namespace, here for one
with the name `gateway`, or with a name that begins with `gateway-`. A port is written as a URL: `tcp://10.0.0.1:8000`."""


def variable_names(settings: type[BaseSettings]) -> dict[str, str]:
    """Field names by environment variable."""
    prefix = settings.model_config.get("env_prefix", "")
    return {
        str(field.validation_alias or f"{prefix}{name.upper()}"): name for name, field in settings.model_fields.items()
    }


def refuse_unknown_names(names: Mapping[str, str], prefix: str) -> None:
    """Raise SettingsError if the environment or `.env` has a variable with the prefix that is not in `names`.

    Variables of Kubernetes are ignored, in the form that it gives them.
    """
    # Names are compared without the prefix, because it makes any two names similar.
    by_short_name = {name.removeprefix(prefix): name for name in names}
    ours = {name for name, value in os.environ.items() if not _KUBERNETES.fullmatch(f"{name}={value}")}
    for name in sorted(ours | env_file_variables().keys()):
        upper = name.upper()
        if upper in _NOT_SETTINGS:
            raise SettingsError(f"{name}: {_NOT_SETTINGS[upper]}")
        if upper.startswith(prefix) and upper not in names:
            close = difflib.get_close_matches(upper.removeprefix(prefix), by_short_name, n=1)
            hint = f" Did you mean {by_short_name[close[0]]}?" if close else ""
            raise SettingsError(f"{name}: there is no such setting.{hint} `sessions-gateway settings` lists them all.")


def env_file_encoding() -> str:
    """Encoding of `.env`; UTF-8 if there is none. A byte order mark would become a part of the first name."""
    path = Path(ENV_FILE)
    return encoding_of(path.read_bytes()) if path.is_file() else "utf-8"


def env_file_variables() -> dict[str, str]:
    """The variables in `.env`. Raises SettingsError for a line that is neither a variable nor a comment."""
    path = Path(ENV_FILE)
    try:
        text = decode_text(path.read_bytes()) if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(
            ".env: it cannot be read as UTF-8 text. Each line must look like GATEWAY_CACHE_TTL=15."
        ) from exc
    for each in parse_stream(io.StringIO(text)):
        if each.error or (each.key and each.value is None):
            raise SettingsError(
                f".env: line {_line_of(each)} is not a variable. Each line must look like GATEWAY_CACHE_TTL=15."
            )
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}


def _line_of(binding: Binding) -> int:
    """The line of what was parsed. The parser counts from the empty lines before it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def read_manifest(path: Path) -> bytes:
    """The content of GATEWAY_TRUSTED_DOCUMENTS. Raises SettingsError if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SettingsError(f"GATEWAY_TRUSTED_DOCUMENTS: {path} cannot be read: {exc.strerror}.") from None


def describe_error(error: ValidationError, settings: type[BaseSettings], names: Mapping[str, str]) -> str:
    """The first invalid value in one line: variable, reason, default. The value is left out: it may be a secret."""
    first = error.errors(include_input=False, include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    # pydantic names the variable if it has an alias, and the field otherwise.
    location = str(first["loc"][0])
    variable = next((variable for variable, field in names.items() if location in {variable, field}), location)
    default = settings.model_fields[names[variable]].default if variable in names else None
    hint = f" (the default is {default_as_text(default)})" if default not in (None, ()) else ""
    return f"{variable}: {message[0].lower()}{message[1:]}{hint}"


def default_as_text(value: object) -> str:
    """A default as it is written in the environment; empty for None. Defaults of secret settings are no secrets."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return ",".join(map(default_as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
