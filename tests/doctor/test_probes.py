"""Every probe finds that its assumption holds, and that it does not, by asking the emulator both ways."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from app.doctor import examine
from app.doctor.answers import Answer, Failure, Transcript
from app.doctor.assumptions import ASSUMPTIONS
from app.doctor.probes import PROBES, find
from app.emulator import Behaviour, Fault
from app.langsmith.api_version import Version
from app.settings import Settings
from tests.doctor.conftest import KEY, Doctor, Patient

Switches = Mapping[str, Any]
V1, V2 = "/api/v1", "/api/v2"


def rewritten(change: Callable[[dict[str, Any]], object], path: str = V1) -> Fault:
    """A fault that changes every row of a version."""

    def rewrite(body: Any) -> None:
        for row in body if isinstance(body, list) else body["items"]:
            change(row)

    return Fault(rewrite=rewrite, times=None, path=path)


def without_run_count_alone(row: dict[str, Any]) -> None:
    """`stats_select` selects nothing. A row with all statistics has tokens, if only none of them."""
    if row["total_tokens"] is None:
        row["run_count"] = None


@dataclass(frozen=True)
class Pair:
    """How the emulator behaves if an assumption holds, and if it does not: switches of `Behaviour`, and faults."""

    holds: Switches = field(default_factory=dict)
    differs: Switches = field(default_factory=dict)
    faults_if_holds: Sequence[Fault] = ()
    faults_if_differs: Sequence[Fault] = ()


PAIRS = {
    "list-answers": Pair(differs={"v1_status": 410, "has_v2": False}),
    "v1-answers": Pair(differs={"v1_status": 410}),
    "v2-answers": Pair(differs={"has_v2": False}),
    "v2-without-workspace": Pair(differs={"v2_needs_workspace": True}),
    "end-not-announced": Pair(differs={"deprecated": True}),
    "retry-after": Pair(
        faults_if_holds=[Fault(status=429, headers={"retry-after": "0"})],
        differs={"rate_limit": 12, "sends_retry_after": False},
    ),
    "readable-rows": Pair(faults_if_differs=[rewritten(lambda row: row.update(start_time=5))]),
    "known-fields": Pair(faults_if_differs=[rewritten(lambda row: row.update(colour="red"))]),
    "known-values": Pair(faults_if_differs=[rewritten(lambda row: row.update(type="SWARM"), V2)]),
    "time-offsets": Pair({"time_offsets": "all"}, {"time_offsets": "none"}),
    "cost-numbers": Pair({"costs_as_numbers": True}, {"costs_as_numbers": False}),
    "last-run-column": Pair(faults_if_differs=[rewritten(lambda row: row.update(last_run_start_time_live=None))]),
    "stats-select": Pair(differs={"refuses_stats_select": True}),
    "stats-select-names": Pair(faults_if_differs=[rewritten(without_run_count_alone)]),
    "stats-select-refusal": Pair(
        {"refuses_stats_select": True}, {"refuses_stats_select": True, "names_refused_parameters": False}
    ),
    "unselected-null": Pair(differs={"leaves_out_unselected": True}),
    "facets-without-statistics": Pair(differs={"facets_need_stats": True}),
    "sort-without-statistics": Pair(differs={"sorting_needs_stats": True}),
    "run-count-order": Pair(differs={"refuses_run_count_order": True}),
    "early-window": Pair(differs={"moves_early_windows": True}),
    "run-time-filter": Pair(differs={"refuses_run_times": True}),
    "page-size-limit": Pair(differs={"clamps_page_size": True}),
    "hundred-ids": Pair({"max_ids": 100}, {"max_ids": 99}),
    "two-hundred-ids": Pair({"max_ids": 199}, {"max_ids": None}),
    "next-page": Pair(differs={"cursor_lifetime": -1.0}),
    "distinct-pages": Pair(differs={"duplicates_across_pages": True}),
    "full-pages": Pair(differs={"page_limit": 7}),
    "cursor-bound": Pair(differs={"binds_cursors": False}),
    "name-contains-case": Pair(differs={"matches_case": True}),
    "session-time-filter": Pair(differs={"refuses_session_times": True}),
    "reference-free": Pair(differs={"leaves_out_agents": True}),
}
"""By row of the table."""
OTHERWISE_TESTED = {"statistics-latency"}


def behave(patient: Patient, switches: Switches, faults: Sequence[Fault] = ()) -> None:
    for name, value in switches.items():
        assert hasattr(Behaviour, name)
        setattr(patient, name, value)
    patient.faults = list(faults)


def test_each_probe_has_a_pair() -> None:
    assert {probe.name for probe in PROBES} == PAIRS.keys() | OTHERWISE_TESTED


@pytest.mark.parametrize("name", PAIRS)
def test_probe_finds_that_its_assumption_holds(patient: Patient, doctor: Doctor, name: str) -> None:
    behave(patient, PAIRS[name].holds, PAIRS[name].faults_if_holds)
    examination = doctor("--json")
    assert examination.outcomes(name) == {"ok"}
    assert examination.exit_code == 0


@pytest.mark.parametrize("name", PAIRS)
def test_probe_finds_that_its_assumption_does_not_hold(patient: Patient, doctor: Doctor, name: str) -> None:
    behave(patient, PAIRS[name].differs, PAIRS[name].faults_if_differs)
    examination = doctor("--json")
    assert "differs" in examination.outcomes(name)
    if ASSUMPTIONS[name].is_built_on:
        assert (examination.exit_code, examination.report["ok"]) == (1, False)
    found = next(
        each for each in examination.report["findings"] if (each["name"], each["outcome"]) == (name, "differs")
    )
    assert found["consequence"] == ASSUMPTIONS[name].otherwise


@pytest.mark.parametrize("name", [name for name, row in ASSUMPTIONS.items() if row.setting and name in PAIRS])
def test_a_setting_is_recommended_once_and_only_if_it_helps(patient: Patient, doctor: Doctor, name: str) -> None:
    setting = dict(zip(("name", "value"), ASSUMPTIONS[name].setting or (), strict=True)) | {"because": name}
    behave(patient, PAIRS[name].holds, PAIRS[name].faults_if_holds)
    assert setting not in doctor("--json").report["settings"]
    behave(patient, PAIRS[name].differs, PAIRS[name].faults_if_differs)
    assert doctor("--json").report["settings"].count(setting) == 1


@pytest.mark.parametrize(("seconds", "outcome"), [(0.5, "ok"), (2.5, "differs")])
def test_statistics_that_take_long_are_found_by_the_median_of_three(
    patient: Patient, url: str, seconds: float, outcome: str
) -> None:
    patient.stats_latency = seconds
    settings = Settings.load(langsmith_endpoint=url, langsmith_api_key=SecretStr(KEY))
    report = asyncio.run(examine(settings, clock=lambda: patient.seconds))
    (finding,) = (each for each in report.findings if each.assumption.name == "statistics-latency")
    assert finding.verdict.outcome == outcome
    assert finding.verdict.seen == f"{seconds:.2f} s, and 0.00 s without"
    assert [each.name for each in report.recommendations] == ["GATEWAY_CACHE_TTL"] * (outcome == "differs")


def test_one_slow_answer_of_three_does_not_count(patient: Patient, url: str) -> None:
    samples: list[float] = []

    def clock() -> float:
        """Each second reading is the end of a request; the first request takes an hour."""
        samples.append(3600.0 if samples else 0.0)
        return samples[-1]

    settings = Settings.load(langsmith_endpoint=url, langsmith_api_key=SecretStr(KEY))
    report = asyncio.run(examine(settings, clock=clock))
    (finding,) = (each for each in report.findings if each.assumption.name == "statistics-latency")
    assert finding.verdict.seen == "0.00 s, and 0.00 s without"


@pytest.mark.parametrize(
    ("found", "next_cursor", "outcome"),
    [("abc", None, "ok"), ("ab", None, "differs"), ("ab", "a cursor", "ok"), ("", None, "differs")],
)
def test_an_answer_without_some_of_the_ids_is_not_one(found: str, next_cursor: str | None, outcome: str) -> None:
    def page(ids: str, next_cursor: str | None = None) -> Answer:
        return Answer(status=200, rows=tuple({"id": each} for each in ids), next_cursor=next_cursor)

    answers: dict[tuple[Version, str], Answer | Failure] = {
        ("v2", "columns"): page("abc"),
        ("v2", "hundred-ids"): page(found, next_cursor),
    }
    findings = find(Transcript(answers=answers))
    (finding,) = (each for each in findings if each.assumption.name == "hundred-ids")
    assert finding.verdict.outcome == outcome
