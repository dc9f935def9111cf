"""The table of probes: for a row of `assumptions.py`, the function that judges the recorded answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from app.doctor import access_probes as access
from app.doctor import list_probes as lists
from app.doctor import statistics_probes as stats
from app.doctor.answers import VERSIONS, Evidence, NoEvidenceError, Transcript
from app.doctor.assumptions import ASSUMPTIONS, Assumption
from app.doctor.verdict import Verdict
from app.langsmith.api_version import Version


@dataclass(frozen=True)
class Probe:
    """Checks one assumption.

    name: its row in `ASSUMPTIONS`.
    judge: the verdict on the answers; raises NoEvidenceError if they tell nothing.
    versions: the versions that are judged one by one; empty if the judge looks at all of them.
    """

    name: str
    judge: Callable[[Evidence], Verdict]
    versions: tuple[Version, ...] = VERSIONS


PROBES: Final = (
    Probe("list-answers", access.judge_list_answers, ()),
    Probe("v1-answers", access.judge_v1_answers, ()),
    Probe("v2-answers", access.judge_v2_answers, ()),
    Probe("v2-without-workspace", access.judge_v2_without_workspace, ()),
    Probe("end-not-announced", access.judge_end_not_announced),
    Probe("retry-after", access.judge_retry_after, ()),
    Probe("readable-rows", lists.judge_readable_rows),
    Probe("known-fields", lists.judge_known_fields),
    Probe("known-values", lists.judge_known_values),
    Probe("time-offsets", lists.judge_time_offsets),
    Probe("cost-numbers", stats.judge_cost_numbers),
    Probe("last-run-column", stats.judge_last_run_column),
    Probe("stats-select", stats.judge_stats_select),
    Probe("stats-select-names", stats.judge_stats_select_names),
    Probe("stats-select-refusal", stats.judge_stats_select_refusal),
    Probe("unselected-null", stats.judge_unselected_null),
    Probe("facets-without-statistics", stats.judge_facets_without_statistics),
    Probe("sort-without-statistics", stats.judge_sort_without_statistics),
    Probe("run-count-order", stats.judge_run_count_order, ("v1",)),
    Probe("early-window", stats.judge_early_window),
    Probe("run-time-filter", stats.judge_run_time_filter),
    Probe("statistics-latency", stats.judge_statistics_latency),
    Probe("page-size-limit", lists.judge_page_size_limit),
    Probe("hundred-ids", lists.judge_hundred_ids),
    Probe("two-hundred-ids", lists.judge_two_hundred_ids),
    Probe("next-page", lists.judge_next_page),
    Probe("distinct-pages", lists.judge_distinct_pages),
    Probe("full-pages", lists.judge_full_pages, ("v2",)),
    Probe("cursor-bound", lists.judge_cursor_bound, ("v2",)),
    Probe("name-contains-case", lists.judge_name_contains_case),
    Probe("session-time-filter", lists.judge_session_time_filter),
    Probe("reference-free", access.judge_reference_free, ()),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a probe found for one version, or for several with the same verdict.

    versions: empty if the probe looks at all versions, or if none of its versions answers.
    """

    assumption: Assumption
    versions: tuple[Version, ...]
    verdict: Verdict


def find(transcript: Transcript) -> list[Finding]:
    """What all probes find, in the order of the table."""
    return [finding for probe in PROBES for finding in _run(probe, transcript)]


def _run(probe: Probe, transcript: Transcript) -> Iterator[Finding]:
    assumption = ASSUMPTIONS[probe.name]
    versions_by_verdict: dict[Verdict, tuple[Version, ...]] = {}
    for version in probe.versions:
        if version in transcript.answering:
            verdict = _judge(probe, Evidence(transcript, version))
            versions_by_verdict[verdict] = (*versions_by_verdict.get(verdict, ()), version)
    if not probe.versions:
        versions_by_verdict[_judge(probe, Evidence(transcript, "v1"))] = ()
    elif not versions_by_verdict:
        absent = f"{probe.versions[0]} does not answer" if transcript.answering else "no version answers"
        versions_by_verdict[Verdict("unknown", absent)] = ()
    for verdict, versions in versions_by_verdict.items():
        yield Finding(assumption=assumption, versions=versions, verdict=verdict)


def _judge(probe: Probe, evidence: Evidence) -> Verdict:
    try:
        return probe.judge(evidence)
    except NoEvidenceError as exc:
        return Verdict("unknown", str(exc))
