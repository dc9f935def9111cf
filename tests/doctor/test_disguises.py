"""The whole table, in front of three LangSmiths that somebody may have."""

from typing import Any

import pytest

from tests.doctor.conftest import Doctor, Examination, Patient

CLOUD = {
    "costs_as_numbers": True,
    "deprecated": True,
    "max_ids": 150,
    "refuses_run_count_order": True,
    "time_offsets": "all",
    "page_limit": 8,
}
"""The vendor's cloud of today, as far as it is known: both versions, of which the first is announced to end."""

SELF_HOSTED = {
    "has_v2": False,
    "refuses_stats_select": True,
    "sends_newer_fields": False,
    "facets_need_stats": True,
    "clamps_page_size": True,
    "matches_case": True,
    "max_ids": 150,
    "time_offsets": "none",
}
"""An old version on a machine of one's own."""

V1_GONE = {
    "v1_status": 410,
    "v2_needs_workspace": False,
    "leaves_out_unselected": True,
    "duplicates_across_pages": True,
}
"""A LangSmith after the end of version 1."""

DISGUISES: dict[str, dict[str, Any]] = {"cloud": CLOUD, "self-hosted": SELF_HOSTED, "v1-gone": V1_GONE}

# Outcomes that differ between the versions are written as v1/v2.
TABLE = """
assumption                  cloud       self-hosted  v1-gone
list-answers                ok          ok           ok
v1-answers                  ok          ok           differs
v2-answers                  ok          differs      ok
v2-without-workspace        ok          unknown      ok
end-not-announced           differs/ok  ok           ok
retry-after                 unknown     unknown      unknown
readable-rows               ok          ok           ok
known-fields                ok          ok           ok
known-values                ok          ok           ok
time-offsets                ok          differs      differs
cost-numbers                ok          differs      ok
last-run-column             ok          ok           ok
stats-select                ok          differs      ok
stats-select-names          ok          unknown      ok
stats-select-refusal        unknown     ok           unknown
unselected-null             ok          unknown      differs
facets-without-statistics   ok          differs      ok
sort-without-statistics     ok          ok           ok
run-count-order             differs     ok           unknown
early-window                ok          ok           ok
run-time-filter             ok          ok           ok
statistics-latency          ok          ok           ok
page-size-limit             ok          differs      ok
hundred-ids                 ok          ok           ok
two-hundred-ids             ok          ok           differs
next-page                   ok          ok           ok
distinct-pages              ok          ok           differs
full-pages                  differs     unknown      ok
cursor-bound                ok          unknown      ok
name-contains-case          ok          differs      ok
session-time-filter         ok          ok           ok
reference-free              ok          unknown      unknown
"""

SETTINGS = {
    "cloud": [],
    "self-hosted": ["GATEWAY_CACHE_TTL=60"],
    "v1-gone": ["GATEWAY_UPSTREAM_API=v2"],
}
EXIT_CODES = {"cloud": 0, "self-hosted": 1, "v1-gone": 0}


def expected_outcomes(disguise: str) -> dict[str, str]:
    head, *lines = (line.split() for line in TABLE.strip().splitlines())
    return {line[0]: line[head.index(disguise)] for line in lines}


def outcomes(examination: Examination) -> dict[str, str]:
    """By assumption, its outcome, or the different ones of version 1 and 2."""
    found: dict[str, dict[str, None]] = {}
    for each in examination.report["findings"]:
        found.setdefault(each["name"], {})[each["outcome"]] = None
    return {name: "/".join(each) for name, each in found.items()}


def wear(patient: Patient, disguise: str) -> None:
    for name, value in DISGUISES[disguise].items():
        setattr(patient, name, value)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_whole_table_fits_the_disguise(patient: Patient, doctor: Doctor, disguise: str) -> None:
    wear(patient, disguise)
    examination = doctor("--json")
    assert outcomes(examination) == expected_outcomes(disguise)
    report = examination.report
    assert [f"{each['name']}={each['value']}" for each in report["settings"]] == SETTINGS[disguise]
    assert (examination.exit_code, report["stopped"]) == (EXIT_CODES[disguise], None)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_table_for_people_has_the_same_findings_in_100_columns(
    patient: Patient, doctor: Doctor, disguise: str
) -> None:
    wear(patient, disguise)
    examination = doctor()
    assert examination.exit_code == EXIT_CODES[disguise]
    lines = examination.output.splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if line.startswith(("ok ", "differs ", "unknown "))]
    expected = [outcome for each in expected_outcomes(disguise).values() for outcome in each.split("/")]
    assert [row.split()[0] for row in rows] == expected
    assert [line.split()[0] for line in lines if line.startswith("  GATEWAY_")] == SETTINGS[disguise]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_the_report_names_nothing_of_the_workspace(
    patient: Patient, doctor: Doctor, url: str, disguise: str, options: list[str]
) -> None:
    wear(patient, disguise)
    output = doctor(*options).output
    texts = patient.identifying_texts()
    assert len(texts) > 120
    assert [text for text in (*texts, url, "127.0.0.1") if text in output] == []


@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_doctor_sends_few_requests_one_after_another_that_only_read(
    patient: Patient, doctor: Doctor, disguise: str
) -> None:
    wear(patient, disguise)
    report = doctor("--json").report
    assert report["requests"] == len(patient.requests) <= 40
    assert patient.most_in_flight == 1
    assert {each.method for each in patient.requests} == {"GET"}
    assert {each.headers["user-agent"].split("/")[0] for each in patient.requests} == {"sessions-gateway"}
