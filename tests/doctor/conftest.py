"""The doctor in front of the emulator: the real command, over real HTTP."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.__main__ import main
from app.emulator import Emulator, RecordedRequest, serving_in_thread

KEY = "lsv2_pt_0f9e8d7c6b5a"
NOW = datetime.now(UTC)
"""The time of the emulator stands still, so that all emulators share their data."""


class Patient(Emulator):
    """An emulator that looks at how it is asked. Its latency passes on a clock of its own, which `seconds` reads.

    most_in_flight: the largest number of requests that were unanswered at the same time.
    """

    def __init__(self, size: int = 60) -> None:
        super().__init__(clock=lambda: NOW, workspaces={KEY: size})
        self.seconds = 0.0
        self.most_in_flight = 0

    def latency_of(self, request: RecordedRequest) -> float:
        in_flight = sum(each.status is None for each in self.requests)
        self.most_in_flight = max(self.most_in_flight, in_flight)
        self.seconds += super().latency_of(request)
        return 0.0

    def identifying_texts(self) -> set[str]:
        """The key, and every name and id of the data."""
        texts = {KEY}
        for workspace in self.workspaces.values():
            texts |= {str(workspace.tenant_id), *map(str, workspace.tag_values)}
            texts |= {text for each in workspace.datasets for text in (str(each.id), each.name)}
            texts |= {text for each in workspace.sessions for text in (str(each.id), each.name)}
        return texts


@dataclass(frozen=True)
class Examination:
    """What the command printed."""

    exit_code: int
    output: str
    errors: str

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.output)
        return report

    def outcomes(self, name: str) -> set[str]:
        """The outcomes of one probe."""
        return {each["outcome"] for each in self.report["findings"] if each["name"] == name}


Doctor = Callable[..., Examination]


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def url(patient: Patient) -> Iterator[str]:
    with serving_in_thread(patient) as url:
        yield url


@pytest.fixture
def doctor(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the command with options. Variables of the environment may be given; None removes one."""
    monkeypatch.chdir(tmp_path)

    def run(*options: str, env: Mapping[str, str | None] | None = None) -> Examination:
        variables = {"LANGSMITH_ENDPOINT": url, "LANGSMITH_API_KEY": KEY, **(env or {})}
        printed = CliRunner().invoke(main, ["doctor", *options], env=variables)
        if printed.exception and not isinstance(printed.exception, SystemExit):
            raise printed.exception
        return Examination(printed.exit_code, printed.stdout, printed.stderr)

    return run
