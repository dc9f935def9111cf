"""`sessions-gateway check`: a static check of a frontend's GraphQL operations, for its continuous integration.

`check(sources, settings)` validates every operation against the schema and the limits, runs it against a LangSmith that
records requests instead of answering from real data, and returns a `Report`: the operation's cost, the requests that
LangSmith would get with an empty cache, and findings (errors and warnings) with their locations. Of an operation with
`@defer` it has both, in parts and as a whole. It opens no network connection and needs no credential.

Read the files in this order: `checker` (the whole check in one function), `sources` (finds the files), `validation`
(parses and validates them), `operations` (an operation with its fragments), `dry_run` (runs it), `example_variables`
(values for variables without one), `recording_upstream` (the LangSmith of the dry run), `report` (the result) and
`text_report` (its lines for a terminal).
"""

from app.check.checker import check
from app.check.example_variables import EXAMPLES
from app.check.report import CheckedOperation, Report
from app.check.sources import CheckInputError, read_sources
from app.check.text_report import text_lines

__all__ = ["EXAMPLES", "CheckInputError", "CheckedOperation", "Report", "check", "read_sources", "text_lines"]
