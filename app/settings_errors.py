"""Errors of settings, in one line each: unknown variable names, an unreadable `.env`, and invalid values."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from app.errors import SettingsError

_REMOVED: Final = {
    "GATEWAY_CACHE_ACTIVITY_CHECK": "this setting was removed, because it could show wrong statistics. Leave it out.",
}


def variable_names(settings: type[BaseSettings]) -> dict[str, str]:
    """Field names by environment variable."""
    prefix = settings.model_config.get("env_prefix", "")
    return {
        str(field.validation_alias or f"{prefix}{name.upper()}"): name for name, field in settings.model_fields.items()
    }


def refuse_unknown_names(names: Mapping[str, str], prefix: str) -> None:
    """Raise SettingsError if the environment or `.env` has a variable with the prefix that is not in `names`."""
    # Names are compared without the prefix, because it makes any two names similar.
    by_short_name = {name.removeprefix(prefix): name for name in names}
    for name in sorted({**_read_env_file(), **os.environ}):
        upper = name.upper()
        if upper in _REMOVED:
            raise SettingsError(f"{name}: {_REMOVED[upper]}")
        if upper.startswith(prefix) and upper not in names:
            close = difflib.get_close_matches(upper.removeprefix(prefix), by_short_name, n=1)
            hint = f" Did you mean {by_short_name[close[0]]}?" if close else ""
            raise SettingsError(f"{name}: there is no such setting.{hint} app/settings.md lists them all.")


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
    hint = f" (the default is {_default_as_text(default)})" if default not in (None, ()) else ""
    return f"{variable}: {message[0].lower()}{message[1:]}{hint}"


def _read_env_file() -> dict[str, str | None]:
    try:
        return dotenv_values(".env") if Path(".env").is_file() else {}
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(
            ".env: it cannot be read as UTF-8 text. Each line must look like GATEWAY_CACHE_TTL=15."
        ) from exc


def _default_as_text(value: object) -> str:
    """A default as it is written in the environment. Defaults of secret settings are no secrets."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)
