"""The table of what the package assumes of LangSmith: nobody could verify it, and installations may differ.

Every `Assumed` mark in the package names its row. The rows in `probes.py` are checked by `sessions-gateway doctor`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """One row.

    name: identifies the row in marks and reports.
    assumes: the assumption, as one short sentence.
    dependent: what in the gateway depends on it.
    otherwise: what follows for users of the gateway if it does not hold; empty for a row that no probe checks.
    is_built_on: whether answers of the gateway are wrong or missing if it does not hold.
    setting: name and value of the setting that is recommended if it does not hold; None if no setting helps.
    """

    name: str
    assumes: str
    dependent: str
    otherwise: str = ""
    is_built_on: bool = False
    setting: tuple[str, str] | None = None


_ROWS: Final = (
    Assumption(
        name="list-answers",
        assumes="A version of the list answers",
        dependent="everything",
        otherwise="The gateway cannot serve anything.",
        is_built_on=True,
    ),
    Assumption(
        name="v1-answers",
        assumes="Version 1 of the list answers",
        dependent="the version that is asked with `GATEWAY_UPSTREAM_API=auto`",
        otherwise="The gateway asks version 2. The setting saves the attempts to find version 1.",
        setting=("GATEWAY_UPSTREAM_API", "v2"),
    ),
    Assumption(
        name="v2-answers",
        assumes="Version 2 of the list answers",
        dependent="the change of versions when the list of version 1 ends",
        otherwise="The gateway stays with version 1. Update LangSmith before its version 1 ends.",
    ),
    Assumption(
        name="v2-without-workspace",
        assumes="Version 2 takes a key without a workspace",
        dependent="clients that send no `X-Tenant-Id`",
        otherwise="Name the workspace; clients with keys of their own must send `X-Tenant-Id`.",
        setting=("LANGSMITH_WORKSPACE_ID", "<id of the workspace>"),
    ),
    Assumption(
        name="organization",
        assumes="An organization id selects a workspace",
        dependent="the emulator's answer to `X-Organization-Id`",
    ),
    Assumption(
        name="end-not-announced",
        assumes="No header announces the end of the list",
        dependent="nothing; the gateway logs and counts announcements",
        otherwise="The list may slow down, and then end. Check that the other version answers.",
    ),
    Assumption(
        name="retry-after",
        assumes="A 429 says when to try again",
        dependent="the pause of all requests after a 429",
        otherwise="The gateway guesses the pause. A rate limit of its own avoids the 429.",
        setting=("GATEWAY_UPSTREAM_RATE", "900/10s"),
    ),
    Assumption(
        name="readable-rows",
        assumes="Every row has the types that are known",
        dependent="all fields of the schema",
        otherwise="Clients get an error for these fields. Report it with this table.",
        is_built_on=True,
    ),
    Assumption(
        name="known-fields",
        assumes="Rows have only fields that are known",
        dependent="nothing; unknown fields are left out, logged and counted",
        otherwise="These fields are not in the schema. An update of the gateway may have them.",
    ),
    Assumption(
        name="known-values",
        assumes="Enumerations have only values that are known",
        dependent="the enumerations of the schema",
        otherwise="Clients get null for these values. An update of the gateway may have them.",
    ),
    Assumption(
        name="time-offsets",
        assumes="Every time has an offset",
        dependent="nothing; a time without an offset is read as UTC",
        otherwise="The gateway reads these times as UTC, as LangSmith documents.",
    ),
    Assumption(
        name="cost-numbers",
        assumes="Costs are JSON numbers",
        dependent="nothing; costs are read exactly from numbers and from texts",
        otherwise="The gateway reads these costs exactly too.",
    ),
    Assumption(
        name="last-run-column",
        assumes="`last_run_start_time_live` needs no statistics",
        dependent="`Session.lastRunStartTimeLive`, which requests none",
        otherwise="`lastRunStartTimeLive` is null. Select `lastRunStartTime` instead.",
        is_built_on=True,
    ),
    Assumption(
        name="stats-select",
        assumes="`stats_select` narrows the statistics",
        dependent="the time that LangSmith takes for a page",
        otherwise="LangSmith computes all statistics for every page that has one. Cache pages for longer.",
        setting=("GATEWAY_CACHE_TTL", "60"),
    ),
    Assumption(
        name="stats-select-names",
        assumes="Field names select statistics",
        dependent="all statistics of the schema",
        otherwise="Selected statistics are null. Report it with this table.",
        is_built_on=True,
    ),
    Assumption(
        name="stats-select-refusal",
        assumes="A refusal of `stats_select` names it in `detail`",
        dependent="the second attempt, which requests all statistics",
        otherwise="Every query with a statistic fails. Report it with this table.",
        is_built_on=True,
    ),
    Assumption(
        name="unselected-null",
        assumes="An unselected statistic is in the row, and null",
        dependent="nothing; the gateway reads only statistics that it requested",
        otherwise="Nothing: an absent statistic is read like null.",
    ),
    Assumption(
        name="facets-without-statistics",
        assumes="Facets need no `include_stats`",
        dependent="`Session.runFacets` without a statistic beside it",
        otherwise="`runFacets` alone is empty. Select a statistic such as `runCount` beside it.",
        is_built_on=True,
    ),
    Assumption(
        name="sort-without-statistics",
        assumes="Sorting by a statistic needs no `include_stats`",
        dependent="`orderBy` with a statistic that is not selected",
        otherwise="`orderBy` with a statistic fails, unless the query selects a statistic.",
        is_built_on=True,
    ),
    Assumption(
        name="run-count-order",
        assumes="`sort_by=runs_count` is taken",
        dependent="`orderBy: { field: RUN_COUNT }`",
        otherwise="Clients that order by RUN_COUNT get an error. Let them order by another field.",
    ),
    Assumption(
        name="early-window",
        assumes="A start more than 31 days back is refused",
        dependent="nothing; LangSmith decides about `stats.since`",
        otherwise="`stats.since` may be earlier, but LangSmith may count the last 31 days only.",
    ),
    Assumption(
        name="run-time-filter",
        assumes="`stats_filter` knows `start_time`",
        dependent="`stats.filter` with times",
        otherwise="A window of statistics cannot end before now.",
    ),
    Assumption(
        name="statistics-latency",
        assumes="Ten rows with statistics take 2 seconds at most",
        dependent="the time that clients wait for a page that is not cached",
        otherwise="Clients wait for LangSmith. Cache pages for longer.",
        setting=("GATEWAY_CACHE_TTL", "60"),
    ),
    Assumption(
        name="page-size-limit",
        assumes="A page of 101 rows is refused",
        dependent="nothing; the gateway requests 100 rows at most",
        otherwise="Nothing: the gateway requests 100 rows at most.",
    ),
    Assumption(
        name="hundred-ids",
        assumes="100 ids in one request are answered",
        dependent="further windows, refills and lookups, which name up to 100 sessions",
        otherwise="Queries with several windows or many ids fail. Ask for smaller pages (`first: 20`).",
        is_built_on=True,
    ),
    Assumption(
        name="two-hundred-ids",
        assumes="200 ids in one request are too long",
        dependent="the bound of 8 KiB for a request line",
        otherwise="Nothing: the gateway names 100 ids at most.",
    ),
    Assumption(
        name="next-page",
        assumes="A next page continues the list",
        dependent="paging",
        otherwise="Only the first page can be read. Report it with this table.",
        is_built_on=True,
    ),
    Assumption(
        name="distinct-pages",
        assumes="Pages do not overlap while nothing moves",
        dependent="nothing; rows are unique within an answer",
        otherwise="A page may repeat rows of the page before. Clients should merge rows by `id`.",
    ),
    Assumption(
        name="full-pages",
        assumes="Only the last page is shorter than asked",
        dependent="the number of requests for a page of version 2",
        otherwise="A page of the gateway may take several requests, up to ten.",
    ),
    Assumption(
        name="cursor-bound",
        assumes="A cursor is refused with other parameters",
        dependent="nothing; the gateway keeps the parameters with the cursor",
        otherwise="Nothing: the gateway sends a cursor with its own parameters only.",
    ),
    Assumption(
        name="cursor-expiry",
        assumes="An expired cursor is refused like an invalid one",
        dependent="the second walk after a refused cursor",
    ),
    Assumption(
        name="name-contains-case",
        assumes="`name_contains` ignores case",
        dependent="what `filter.nameContains` finds",
        otherwise="`filter.nameContains` finds names in the same case only.",
    ),
    Assumption(
        name="session-time-filter",
        assumes="`filter` knows `start_time`",
        dependent="`filter.expression` with times",
        otherwise="`filter.expression` cannot select sessions by their start.",
    ),
    Assumption(
        name="session-filter-fields",
        assumes="`filter` knows the columns of a session",
        dependent="the expressions that the emulator takes",
    ),
    Assumption(
        name="filter-refusal",
        assumes="Version 1 refuses a wrong expression with 422",
        dependent="the emulator's answer, which has a text as its detail",
    ),
    Assumption(
        name="search-text",
        assumes="`search` without a field looks into every text",
        dependent="the emulator's answer to `search`",
    ),
    Assumption(
        name="error-condition",
        assumes="`eq(error, true)` asks whether there is an error",
        dependent="the emulator's answer to conditions on errors",
    ),
    Assumption(
        name="reference-free",
        assumes="`reference_free=true` includes agents",
        dependent="what `filter.referenceFree: true` means on version 2",
        otherwise="`referenceFree: true` finds agents on version 2 only. The setting leaves them out.",
        setting=("GATEWAY_UPSTREAM_PROJECT_TYPES", "PROJECT"),
    ),
    Assumption(
        name="dataset-version",
        assumes="The version of a dataset is in the metadata",
        dependent="what the emulator finds for `dataset_version`",
    ),
    Assumption(
        name="name-order",
        assumes="Names sort by code point",
        dependent="the emulator's order by name",
    ),
    Assumption(
        name="order-default",
        assumes="Version 2 has the default order of version 1",
        dependent="nothing; the gateway always sends the order",
    ),
    Assumption(
        name="page-size-default",
        assumes="A page of version 2 has 20 rows by default",
        dependent="nothing; the gateway always sends the size of a page",
    ),
    Assumption(
        name="feedback-order",
        assumes="Feedback sorts by its average",
        dependent="the emulator's order by feedback",
    ),
    Assumption(
        name="feedback-source",
        assumes="Feedback of runs is the default source",
        dependent="`orderBy.feedbackKey` without `feedbackSource`",
    ),
    Assumption(
        name="feedback-numbers",
        assumes="`n` counts scores, `stdev` is of the population",
        dependent="the emulator's feedback",
    ),
    Assumption(
        name="session-feedback",
        assumes="Windows do not apply to feedback of sessions",
        dependent="the emulator's `session_feedback_stats`",
    ),
    Assumption(
        name="facet-items",
        assumes="A facet is a value of a run field, with a filter",
        dependent="the emulator's facets; the gateway passes them through",
    ),
    Assumption(
        name="statistics-without-runs",
        assumes="Without runs, counts are 0 and the others null",
        dependent="the emulator's statistics of sessions without runs",
    ),
    Assumption(
        name="cost-without-costs",
        assumes="The cost of runs without a cost is null",
        dependent="the emulator's costs",
    ),
    Assumption(
        name="default-window",
        assumes="Without a start, every run counts",
        dependent="the meaning of statistics without a window",
    ),
    Assumption(
        name="approximate-statistics",
        assumes="Approximate statistics are an hour old at most",
        dependent="`stats.approximate`",
    ),
    Assumption(
        name="problem-remedy",
        assumes="An error may lack a remedy",
        dependent="the emulator's errors of version 2",
    ),
)

ASSUMPTIONS: Final[Mapping[str, Assumption]] = {row.name: row for row in _ROWS}
"""All rows by name, in the order of the report."""
