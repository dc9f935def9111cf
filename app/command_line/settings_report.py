"""`sessions-gateway settings`: each setting with its value, its default, and where the value comes from."""

import os
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.settings import Settings
from app.settings_errors import ENV_FILE, default_as_text, env_file_variables, read_manifest, variable_names

_HIDDEN: Final = "***"
_NOT_SET: Final = "-"


def settings_report() -> Iterator[str]:
    """Lines of a table, without secrets. Raises SettingsError like `Settings.load`, and for an unreadable manifest."""
    settings = Settings.load()
    if settings.trusted_documents:
        read_manifest(settings.trusted_documents)
    in_environment = {name.upper() for name in os.environ}
    in_file = {name.upper() for name in env_file_variables()}
    rows = [("setting", "value", "default", "source")]
    for variable, name in variable_names(Settings).items():
        is_set = {"environment": variable in in_environment, ENV_FILE: variable in in_file}
        source = next((source for source, sets in is_set.items() if sets), "default")
        default = default_as_text(Settings.model_fields[name].default)
        rows.append(
            (
                variable,
                _shown(getattr(settings, name), is_url=name.endswith("_url")) or _NOT_SET,
                default or _NOT_SET,
                source,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _shown(value: object, *, is_url: bool) -> str:
    """A value as it is written in the environment, with what is secret hidden."""
    if isinstance(value, tuple):
        return ",".join(_shown(each, is_url=is_url) for each in value)
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return _without_secrets(secret) if is_url else secret and _HIDDEN
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else default_as_text(value)


def _without_secrets(url: str) -> str:
    """Scheme, hosts and path of a URL. Its options may be passwords too."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    query = f"?{_HIDDEN}" if parts.query else ""
    return f"{parts.scheme}://{_HIDDEN if user else ''}{at}{hosts}{parts.path}{query}"
