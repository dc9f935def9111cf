"""Probes of the list: its rows, pages, filters and bounds. Each judges the answers of one version."""

import re
from collections.abc import Mapping
from typing import Any, Final

from app.doctor.answers import Answer, Evidence, NoEvidenceError
from app.doctor.survey import ROWS, name_of_both_cases, sample_names
from app.doctor.verdict import Verdict, differs, holds
from app.sessions.fields import FIELDS
from app.sessions.query import MAX_LIMIT

_OFFSET: Final = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")
_SHOWN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_MAX_SHOWN: Final = 3
_TIMES: Final = ("start_time", "end_time", "last_run_start_time", "last_run_start_time_live")

_Row = Mapping[str, Any]


def judge_readable_rows(evidence: Evidence) -> Verdict:
    rows = _all_rows(evidence)
    unreadable = {name for each in evidence.all() for name in each.unreadable}
    return differs(f"not read: {_shown(unreadable)}") if unreadable else holds(f"{len(rows)} rows were read")


def judge_known_fields(evidence: Evidence) -> Verdict:
    unknown = {name for row in _all_rows(evidence) for name in row} - FIELDS.keys()
    return differs(f"also {_shown(unknown)}") if unknown else holds("no other field")


def judge_known_values(evidence: Evidence) -> Verdict:
    _all_rows(evidence)
    unknown = {(name, value.strip('"')) for each in evidence.all() for name, value in each.unknown_values}
    if not unknown:
        return holds("no other value")
    fields = {name for name, _ in unknown}
    return differs(f"{_shown(fields)} is also {_shown({value for _, value in unknown})}")


def judge_time_offsets(evidence: Evidence) -> Verdict:
    values = [row[name] for row in _all_rows(evidence) for name in _TIMES if isinstance(row.get(name), str)]
    naive = [value for value in values if not _OFFSET.search(value)]
    if not values:
        raise NoEvidenceError("no times")
    return differs(f"{len(naive)} of {len(values)} times have none") if naive else holds(f"{len(values)} times have")


def judge_page_size_limit(evidence: Evidence) -> Verdict:
    answer = evidence.answer("above-limit")
    return holds(f"refused ({answer.status})") if answer.rows is None else differs(f"{len(answer.rows)} rows")


def judge_hundred_ids(evidence: Evidence) -> Verdict:
    answer = evidence.answer("hundred-ids")
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    named = _ids(evidence.rows("columns"))
    missing = named - _ids(answer.rows)
    is_complete = answer.next_cursor is None
    return differs(f"{len(missing)} of {len(named)} are missing") if missing and is_complete else holds("answered")


def judge_two_hundred_ids(evidence: Evidence) -> Verdict:
    answer = evidence.answer("two-hundred-ids")
    return holds(f"refused ({answer.status})") if answer.rows is None else differs("answered")


def judge_next_page(evidence: Evidence) -> Verdict:
    answer = _next_page(evidence)
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    further = _ids(answer.rows) - _ids(evidence.rows(sample_names("columns")[-1]))
    return differs("the first page again") if answer.rows and not further else holds(f"{len(further)} further rows")


def judge_distinct_pages(evidence: Evidence) -> Verdict:
    answer = _next_page(evidence)
    if not answer.rows:
        raise NoEvidenceError("the next page has no rows")
    twice = _ids(answer.rows) & _ids(evidence.rows(sample_names("columns")[-1]))
    return differs(f"{len(twice)} of {len(answer.rows)} rows came twice") if twice else holds("no row came twice")


def judge_full_pages(evidence: Evidence) -> Verdict:
    sizes = {**dict.fromkeys(sample_names("columns"), ROWS), "next-page": ROWS, "by-statistic": MAX_LIMIT}
    pages = {name: each for name in sizes if isinstance(each := evidence.find(name), Answer) and each.next_cursor}
    if not pages:
        raise NoEvidenceError("the list has one page")
    short = {name: len(page.rows or ()) for name, page in pages.items() if len(page.rows or ()) < sizes[name]}
    for name, length in short.items():
        return differs(f"{length} of {sizes[name]} rows")
    return holds("full")


def judge_cursor_bound(evidence: Evidence) -> Verdict:
    answer = evidence.answer("foreign-cursor")
    return holds(f"refused ({answer.status})") if answer.rows is None else differs("answered")


def judge_name_contains_case(evidence: Evidence) -> Verdict:
    name, answer = name_of_both_cases(evidence), evidence.answer("opposite-case")
    if answer.rows is None:
        raise NoEvidenceError(f"refused ({answer.status})")
    names = [str(row.get("name")) for row in answer.rows]
    return holds("found in the opposite case") if name in names else differs("not found in the opposite case")


def judge_session_time_filter(evidence: Evidence) -> Verdict:
    answer = evidence.answer("session-times")
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    return differs("taken, without effect") if answer.rows else holds("taken")


def _next_page(evidence: Evidence) -> Answer:
    if evidence.find("next-page") is None and evidence.find(sample_names("columns")[-1]) is not None:
        raise NoEvidenceError("the list has one page")
    return evidence.answer("next-page")


def _all_rows(evidence: Evidence) -> list[_Row]:
    rows = [row for each in evidence.all() for row in each.rows or ()]
    if not rows:
        raise NoEvidenceError("no rows")
    return rows


def _ids(rows: tuple[_Row, ...]) -> set[str]:
    return {str(row.get("id")) for row in rows}


def _shown(names: set[str]) -> str:
    """Some of the names, which LangSmith chose: those that look like identifiers, and the number of the others."""
    shown = [name for name in sorted(names) if _SHOWN_NAME.fullmatch(name)][:_MAX_SHOWN]
    others = [f"{len(names) - len(shown)} others"] if len(names) > len(shown) else []
    return ", ".join([*shown, *others])
