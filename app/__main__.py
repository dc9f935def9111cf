"""The command line: `sessions-gateway serve`, `settings`, `schema`, `check` and `doctor`. `python -m app` is the same.

Each command imports what it needs when it runs, so that `--help` and `--version` answer at once.
"""

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from app import __version__

_INTERRUPTED: Final = 130
"""Exit status after Ctrl+C: 128 and the number of the signal."""


class _Commands(click.Group):
    """Ends an interrupted command as a shell expects it: an exit status of 1 would say that it has found something."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise SystemExit(_INTERRUPTED) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A GraphQL gateway in front of LangSmith's tracing projects and experiments."""


@main.command()
@click.option(
    "--demo", is_flag=True, help="Serve generated data from an embedded LangSmith. Needs no API key and no network."
)
@click.option(
    "--own-key",
    is_flag=True,
    help="Serve the projects of LANGSMITH_API_KEY to this machine, without a key from clients. Other machines may only "
    "connect with a token of GATEWAY_CLIENT_TOKENS.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 chooses a free one.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Number of worker processes."
)
def serve(*, demo: bool, own_key: bool, host: str, port: int, workers: int) -> None:
    """Start the gateway. It is configured by environment variables and `.env`."""
    if demo and own_key:
        raise click.UsageError("--demo serves generated data, and --own-key your own: choose one.")
    # Imports create many objects that stay, which would be looked through again and again. The app looks for garbage.
    gc.disable()
    with _exit_2_on_settings_error():
        from app.command_line import serve as command

        command.serve(demo=demo, own_key=own_key, host=host, port=port, workers=workers)


@main.command()
def settings() -> None:
    """Print each setting with its value, its default and where the value comes from. Secrets are hidden.

    The exit status is 2 if `serve` would refuse a setting, with the same line on standard error. The documents of
    GATEWAY_TRUSTED_DOCUMENTS are not checked.
    """
    from app.command_line.settings_report import settings_report

    with _exit_2_on_settings_error():
        click.echo("\n".join(settings_report()))


@main.command()
def schema() -> None:
    """Print the GraphQL schema in the schema definition language (SDL)."""
    from app.schema.query import create_schema

    click.echo(create_schema().as_str())


@main.command("check")
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.option(
    "--variables",
    type=click.File("rb"),
    help='JSON file with variables by operation name: {"Projects": {"first": 50}}.',
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check_documents(*, patterns: tuple[str, ...], variables: IO[bytes] | None, as_json: bool) -> None:
    """Validate GraphQL operations, and show which requests each sends to LangSmith with an empty cache.

    PATTERN is a path, a quoted glob pattern such as 'src/**/*.graphql', or - for the standard input. The limits are
    read from environment variables and `.env`, as for `serve`. Needs no API key and no network.

    The exit status is 0 if there are no errors, 1 if there are errors, and 2 if the check could not run.
    """
    from app.check import CheckInputError, check, read_sources, text_lines
    from app.settings import Settings

    with _exit_2_on_settings_error():
        try:
            sources = read_sources(patterns, sys.stdin.buffer.read)
            report = check(sources, Settings.load(), _read_variables(variables))
        except CheckInputError as exc:
            raise click.UsageError(str(exc)) from None
    click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False) if as_json else "\n".join(text_lines(report)))
    raise SystemExit(1 if report.error_count else 0)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(*, as_json: bool) -> None:
    """Find out which assumptions of the gateway hold for your LangSmith, and which settings fit it.

    Sends at most some forty small requests with LANGSMITH_API_KEY to LANGSMITH_ENDPOINT, one after another, which only
    read. Both, and LANGSMITH_WORKSPACE_ID, are read from environment variables and `.env`, as for `serve --own-key`.
    The report has no names, ids, keys or hosts of yours, so that you can paste it into a bug report.

    The exit status is 0, or 1 if an assumption that the gateway is built on does not hold, and 2 if a setting is wrong
    or there is no key.
    """
    import asyncio

    from app.doctor import examine, text_lines
    from app.settings import Settings

    with _exit_2_on_settings_error():
        try:
            report = asyncio.run(examine(Settings.load(), on_request=_show_progress))
        finally:
            _show_progress(None)
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else "\n".join(text_lines(report)))
    raise SystemExit(1 if report.broken else 0)


def _show_progress(number: int | None) -> None:
    """Show the number of a request in the last line of a terminal; None clears the line."""
    if sys.stderr.isatty():
        click.echo("\r\033[K" + (f"Request {number} to LangSmith" if number else ""), err=True, nl=False)


def _read_variables(file: IO[bytes] | None) -> dict[str, dict[str, Any]]:
    """Variables by operation name."""
    from app.text_files import parse_json

    try:
        variables = parse_json(file.read()) if file else {}
    except (ValueError, RecursionError) as exc:
        raise click.UsageError(f"--variables: the file is not JSON in UTF-8: {exc}.") from None
    if not isinstance(variables, dict) or not all(isinstance(each, dict) for each in variables.values()):
        raise click.UsageError('--variables: the file must look like {"Projects": {"first": 50}}.')
    return variables


@contextmanager
def _exit_2_on_settings_error() -> Iterator[None]:
    """Write the line of a SettingsError to standard error, and exit."""
    from app.errors import SettingsError

    try:
        yield
    except SettingsError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main(prog_name="sessions-gateway")
