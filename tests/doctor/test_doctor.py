"""`sessions-gateway doctor` as a command: settings, failures of the access, interruption, and the form of its JSON."""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from app.doctor import examine
from app.doctor.answers import Transcript
from app.doctor.report import create_report
from app.emulator import Fault, serving
from app.settings import Settings
from tests.doctor.conftest import KEY, Doctor, Patient
from tests.test_command_line import accept_interrupts, environment

HTML = {"content-type": "text/html"}
ALWAYS = None


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def stopped_line(output: str) -> str:
    """What the table says about why it stopped, in one line."""
    return " ".join(output[output.index("Stopped: ") :].split())


def test_doctor_needs_a_key(doctor: Doctor, patient: Patient) -> None:
    for key in (None, ""):
        examination = doctor(env={"LANGSMITH_API_KEY": key})
        assert (examination.exit_code, examination.output) == (2, "")
        assert examination.errors == (
            "LANGSMITH_API_KEY: must be set, in the environment or in .env: the doctor asks LangSmith with this key.\n"
        )
    assert patient.requests == []


def test_doctor_reads_the_key_from_the_env_file(doctor: Doctor, patient: Patient, tmp_path: Path) -> None:
    workspace = patient.workspaces[KEY].tenant_id
    (tmp_path / ".env").write_text(f"LANGSMITH_API_KEY={KEY}\nLANGSMITH_WORKSPACE_ID={workspace}\n")
    assert doctor(env={"LANGSMITH_API_KEY": None}).exit_code == 0
    assert {each.headers["x-tenant-id"] for each in patient.requests} == {str(workspace)}


def test_doctor_refuses_a_wrong_setting_and_a_wrong_option(doctor: Doctor) -> None:
    examination = doctor(env={"GATEWAY_CACHE_TTL": "soon"})
    assert (examination.exit_code, examination.output) == (2, "")
    assert examination.errors.startswith("GATEWAY_CACHE_TTL: ")
    assert doctor("--yaml").exit_code == 2


@pytest.mark.parametrize(
    ("faults", "env", "says"),
    [
        ([], {"LANGSMITH_API_KEY": "other"}, "does not accept the key. Check LANGSMITH_API_KEY"),
        ([], {"LANGSMITH_WORKSPACE_ID": "x"}, "LANGSMITH_WORKSPACE_ID must be the UUID of a workspace"),
        ([], {"LANGSMITH_WORKSPACE_ID": str(uuid4())}, "Set LANGSMITH_WORKSPACE_ID if the key"),
        ([], {"LANGSMITH_ENDPOINT": "{url}/nowhere"}, "no list of sessions at this URL. LANGSMITH_ENDPOINT must be"),
        ([], {"LANGSMITH_ENDPOINT": closed_port()}, "its host refuses connections"),
        ([], {"LANGSMITH_ENDPOINT": "http://langsmith.invalid"}, "The host name of LangSmith"),
        ([], {"LANGSMITH_ENDPOINT": "https{url}"}, "No secure connection to LangSmith could be made"),
        ([Fault(status=403, body=b"<html>", headers=HTML)], {}, "Something in front of LangSmith"),
        ([Fault(status=403, body=b"")], {}, "Something in front of LangSmith"),
        ([Fault(body=b"<html>Sign in", headers=HTML)], {}, "Something else than a list of sessions came back."),
        ([Fault(body=b'{"ok": true}')], {}, "Something else than a list of sessions came back."),
        ([Fault(status=302, headers={"location": "/login"})], {}, "redirects to another URL (status 302)"),
        ([Fault(status=503, times=ALWAYS)], {}, "answers with status 503. Try again later."),
        ([Fault(hang_up=True)], {}, "The connection to LangSmith was lost"),
        ([Fault(status=410, path="/api/v1"), Fault(status=401, path="/api/v2")], {}, "does not accept the key"),
    ],
)
def test_doctor_says_what_to_do_and_stops_if_it_gets_no_access(
    patient: Patient, doctor: Doctor, url: str, faults: Sequence[Fault], env: dict[str, str], says: str
) -> None:
    patient.faults = list(faults)
    rest = url.removeprefix("http")
    variables = {name: value.replace("https{url}", f"https{rest}").replace("{url}", url) for name, value in env.items()}
    examination = doctor(env=variables)
    assert examination.exit_code == 1
    assert says in stopped_line(examination.output)
    assert max(map(len, examination.output.splitlines())) <= 100
    assert len(patient.requests) <= 2


def test_doctor_stops_in_the_middle_if_langsmith_stops_answering(patient: Patient, doctor: Doctor) -> None:
    dying = Fault(rewrite=lambda _: patient.faults.append(Fault(hang_up=True, times=ALWAYS)), path="/api/v2")
    patient.faults = [dying]
    examination = doctor("--json")
    assert "connection to LangSmith was lost" in examination.report["stopped"]
    assert [each.status for each in patient.requests] == [200, 200, None, None]
    assert examination.outcomes("list-answers") == {"ok"}
    assert examination.outcomes("stats-select") == {"unknown"}
    assert examination.exit_code == 0


def test_doctor_goes_on_after_one_request_without_an_answer(patient: Patient, doctor: Doctor) -> None:
    patient.has_v2 = False
    patient.faults = [
        Fault(rewrite=lambda _: None, path="/api/v1"),
        Fault(hang_up=True, path="/api/v1"),
    ]
    report = doctor("--json").report
    assert report["stopped"] is None
    assert report["requests"] == len(patient.requests) > 15
    (latency,) = (each for each in report["findings"] if each["name"] == "statistics-latency")
    assert (latency["outcome"], latency["seen"]) == ("unknown", "no answer (reset)")


async def test_doctor_waits_as_long_as_a_429_asks_and_repeats_the_request(patient: Patient) -> None:
    patient.faults = [Fault(status=429, headers={"retry-after": "7"}, times=1)]
    waits: list[tuple[float, int]] = []

    async def sleep(seconds: float) -> None:
        waits.append((seconds, len(patient.requests)))

    async with serving(patient) as url:
        settings = Settings.load(langsmith_endpoint=url, langsmith_api_key=SecretStr(KEY))
        report = await examine(settings, sleep=sleep)
    first, second = patient.requests[:2]
    assert (first.status, second.status, first.params) == (429, 200, second.params)
    assert waits == [(7.0, 1)]
    assert report.stopped is None


@pytest.mark.parametrize("headers", [{}, {"retry-after": "0"}], ids=["without-retry-after", "again"])
def test_doctor_stops_at_a_rate_limit_that_does_not_end(
    patient: Patient, doctor: Doctor, headers: dict[str, str]
) -> None:
    patient.faults = [Fault(status=429, headers=headers, times=ALWAYS)]
    examination = doctor("--json")
    assert len(patient.requests) == 1 + len(headers)
    assert "rate limit is reached" in examination.report["stopped"]
    assert examination.outcomes("list-answers") == {"unknown"}


@pytest.mark.parametrize("size", [0, 1, 10, 11])
def test_doctor_invents_nothing_about_a_small_workspace(url: str, doctor: Doctor, patient: Patient, size: int) -> None:
    patient.workspaces = {KEY: Patient(size).workspaces[KEY]}
    examination = doctor("--json")
    assert (examination.exit_code, examination.report["stopped"]) == (0, None)
    if size == 0:
        assert examination.outcomes("readable-rows") == {"unknown"}
    if size < 10:
        assert examination.outcomes("next-page") == {"unknown"}


@pytest.mark.parametrize("value", [None, True, 5, 1e300, "x", [], [None], {}, {"a": [1]}], ids=repr)
def test_doctor_survives_values_of_any_type(patient: Patient, doctor: Doctor, value: object) -> None:
    def rewrite(body: Any) -> None:
        for number, row in enumerate(body if isinstance(body, list) else body["items"]):
            row.update({name: value for name in row if number % 2})

    patient.faults = [Fault(rewrite=rewrite, times=ALWAYS)]
    examination = doctor("--json")
    assert (examination.report["stopped"], examination.exit_code) == (None, 1)
    assert examination.outcomes("readable-rows") == {"differs"}


def test_doctor_survives_rows_without_any_field(patient: Patient, doctor: Doctor) -> None:
    def rewrite(body: Any) -> None:
        for row in body if isinstance(body, list) else body["items"]:
            row.clear()

    patient.faults = [Fault(rewrite=rewrite, times=ALWAYS)]
    assert doctor("--json").outcomes("readable-rows") == {"differs"}


async def test_an_interrupted_doctor_ends_with_one_line_and_status_130(patient: Patient, tmp_path: Path) -> None:
    patient.pause()
    async with serving(patient) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "doctor"),
            cwd=tmp_path,
            env=environment(LANGSMITH_ENDPOINT=url, LANGSMITH_API_KEY=KEY),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=accept_interrupts,
        )
        await patient.wait_for_requests(1)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err.decode()) == (130, b"", "Interrupted.\n")


def test_the_json_has_a_stable_form(doctor: Doctor) -> None:
    report = doctor("--json").report
    assert list(report) == ["version", "gateway", "langsmith", "requests", "stopped", "findings", "settings", "ok"]
    assert (report["version"], report["langsmith"], report["ok"]) == (1, "self-hosted", True)
    members = ["name", "versions", "outcome", "builtOn", "assumption", "affects", "seen", "consequence"]
    assert {tuple(each) for each in report["findings"]} == {tuple(members)}


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://api.smith.langchain.com", "api.smith.langchain.com"),
        ("https://eu.api.smith.langchain.com/api/v1", "eu.api.smith.langchain.com"),
        ("https://acme.api.smith.langchain.com", "self-hosted"),
        ("https://langsmith.acme.example/api", "self-hosted"),
    ],
)
def test_the_report_names_public_hosts_only(endpoint: str, shown: str) -> None:
    report = create_report([], Settings.load(langsmith_endpoint=endpoint), Transcript(answers={}), 0)
    assert report.langsmith == shown


def test_names_that_langsmith_chose_are_shown_only_if_they_look_like_identifiers(
    patient: Patient, doctor: Doctor
) -> None:
    session = patient.workspaces[KEY].sessions[0]
    added = {str(session.id): 1, session.name: 2, "new_field": 3}

    def rewrite(rows: list[dict[str, object]]) -> None:
        for row in rows:
            row.update(added, trace_tier=str(session.id))

    patient.faults = [Fault(rewrite=rewrite, times=ALWAYS, path="/api/v1")]
    output = doctor().output
    assert "also new_field, 2 others" in output
    assert "trace_tier is also 1 others" in output
    assert [text for text in patient.identifying_texts() if text in output] == []
