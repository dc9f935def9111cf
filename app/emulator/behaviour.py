"""How the emulated LangSmith behaves where installations differ, or where nobody could verify the real API."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True, eq=False)
class Behaviour:
    """Switches of the emulator. Each is an attribute of `Emulator`; the defaults are what the gateway is built on.

    Statistics, on both versions of the API:
        refuses_stats_select: Refuse the parameter `stats_select`.
        names_refused_parameters: Name the parameter in a refusal, instead of saying only that there is one.
        leaves_out_unselected: Leave unselected statistics out of the rows, instead of sending null.
        facets_need_stats: Send facets only with `include_stats`.
        sorting_needs_stats: Refuse to sort by a statistic without `include_stats`.
        moves_early_windows: Move a start of statistics that is more than 31 days back, instead of refusing it.
        stats_latency: Seconds that a response with statistics takes longer than one without.
        refuses_run_times: Refuse the field `start_time` in `stats_filter`.

    Sessions, on both versions:
        clamps_page_size: Send 100 rows if `limit` or `page_size` is above 100, instead of refusing it.
        max_ids: Answer 414, as a proxy does, to more ids in one request.
        matches_case: `name_contains` is case-sensitive.
        refuses_session_times: Refuse the field `start_time` in `filter`.
        duplicates_across_pages: A page begins with the last row of the page before, as while a list moves.
        time_offsets: Which sessions send times with an offset: "some", "all" or "none". Times without one are UTC.

    Version 1:
        v1_status: Status for the sessions of version 1 with a good credential, such as 410; None while they exist.
        deprecated: Announce the end of version 1 in the headers `Deprecation` and `Sunset`.
        refuses_run_count_order: Refuse `sort_by=runs_count`.
        costs_as_numbers: Send costs as JSON numbers, instead of strings. Version 2 always sends numbers.
        leaves_out_agents: Leave agents out of what `reference_free` finds.
        sends_newer_fields: Send fields that are not in the published specification of version 1.

    Version 2:
        has_v2: Whether it exists. Without it, its paths are not found.
        v2_needs_workspace: Answer 403 to requests without `X-Tenant-Id`.
        invalid_status: Status for invalid parameters. A cursor that is not accepted is always 400.
        problem_content_type: Content type of errors; `application/problem+json` is the other one.
        page_limit: Number of rows of a page, even if `page_size` is larger.
        sends_empty_page: The second page of a list is empty, and has a `next_cursor` nevertheless.
        binds_cursors: Refuse a cursor in a request with other parameters than the one that it came from.
        cursor_lifetime: Seconds until a cursor expires; None if it never does.

    In front of both versions:
        strict_edge: Answer 403 with HTML to lists without both sort parameters, and to User-Agents of libraries.
        rate_limit: Requests per 10 seconds for each key. More are answered with 429.
        sends_retry_after: Send `Retry-After` with that 429.
    """

    refuses_stats_select: bool = False
    names_refused_parameters: bool = True
    leaves_out_unselected: bool = False
    facets_need_stats: bool = False
    sorting_needs_stats: bool = False
    moves_early_windows: bool = False
    stats_latency: float = 0.0
    refuses_run_times: bool = False
    clamps_page_size: bool = False
    max_ids: int | None = None
    matches_case: bool = False
    refuses_session_times: bool = False
    duplicates_across_pages: bool = False
    time_offsets: Literal["some", "all", "none"] = "some"
    v1_status: int | None = None
    deprecated: bool = False
    refuses_run_count_order: bool = False
    costs_as_numbers: bool = False
    leaves_out_agents: bool = False
    sends_newer_fields: bool = True
    has_v2: bool = True
    v2_needs_workspace: bool = False
    invalid_status: int = 400
    problem_content_type: str = "application/json"
    page_limit: int | None = None
    sends_empty_page: bool = False
    binds_cursors: bool = True
    cursor_lifetime: float | None = None
    strict_edge: bool = False
    rate_limit: int | None = None
    sends_retry_after: bool = True
