"""examine: asks LangSmith the questions of the survey, one after another, and reports what the probes find."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from app.credentials import API_KEY, TENANT
from app.doctor.access import RATE_LIMITED, why_to_stop
from app.doctor.answers import VERSIONS, Answer, Evidence, Failure, NoEvidenceError, Transcript, read_answer
from app.doctor.probes import find
from app.doctor.report import Report, create_report
from app.doctor.survey import FIRST, Question, Step, steps_of
from app.errors import SettingsError, UpstreamMalformedError
from app.langsmith.api_version import ApiVersion, Version
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.plain_client import PlainAnswer, PlainClient
from app.langsmith.v1 import V1
from app.langsmith.v2 import V2
from app.resilience.clock import Clock
from app.settings import Settings

Sleep = Callable[[float], Awaitable[None]]
"""Waits for some seconds."""

_MAX_SECONDS: Final = 30.0
"""Bound of one request."""
_MAX_FAILURES: Final = 2
"""Requests in a row without an answer, after which no further one is sent."""


class _StopError(Exception):
    """Why no further question is asked, for people."""


async def examine(
    settings: Settings,
    *,
    on_request: Callable[[int], None] = lambda _: None,
    clock: Clock = time.perf_counter,
    sleep: Sleep = asyncio.sleep,
) -> Report:
    """Ask the LangSmith of the settings, with the key of the settings.

    on_request: called with the number of each request, from 1, before it is sent.
    clock: monotonic seconds, which measure the latency.
    sleep: waits for some seconds, when LangSmith asks to.

    Raises SettingsError if there is no key.
    """
    key = settings.langsmith_api_key and settings.langsmith_api_key.get_secret_value()
    if not key:
        raise SettingsError(
            "LANGSMITH_API_KEY: must be set, in the environment or in .env: the doctor asks LangSmith with this key."
        )
    headers = {API_KEY: key}
    if settings.langsmith_workspace_id:
        headers[TENANT] = settings.langsmith_workspace_id
    client = PlainClient(timeout_seconds=min(settings.upstream_timeout, _MAX_SECONDS), clock=clock)
    try:
        examiner = _Examiner(client, settings.langsmith_endpoint, headers, on_request, sleep)
        await examiner.run()
    finally:
        await client.aclose()
    return create_report(find(examiner.transcript()), settings, examiner.transcript(), examiner.request_count)


class _Examiner:
    """Sends the requests, and keeps the answers.

    endpoint: base URL of LangSmith.
    headers: the credential.
    """

    def __init__(
        self,
        client: PlainClient,
        endpoint: str,
        headers: dict[str, str],
        on_request: Callable[[int], None],
        sleep: Sleep,
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._on_request = on_request
        self._headers = headers
        self._versions: dict[Version, ApiVersion] = {"v1": V1(), "v2": V2()}
        self._urls = {version: api.url(endpoint) for version, api in self._versions.items()}
        self._answers: dict[tuple[Version, str], Answer | Failure] = {}
        self._rate_limited: list[bool] = []
        self._failures_in_a_row = 0
        self._stopped: str | None = None
        self.request_count = 0

    def transcript(self) -> Transcript:
        """What was asked and answered so far."""
        return Transcript(
            answers=dict(self._answers),
            rate_limited=tuple(self._rate_limited),
            has_workspace=TENANT in self._headers,
            stopped=self._stopped,
        )

    async def run(self) -> None:
        """Ask everything, unless there is a reason to stop."""
        try:
            for version in VERSIONS:
                await self._ask(version, FIRST)
                if reason := why_to_stop(self.transcript()):
                    self._stopped = reason
                    return
            for version, step in steps_of(self.transcript().answering):
                await self._ask(version, step)
        except _StopError as exc:
            self._stopped = str(exc)

    async def _ask(self, version: Version, step: Step) -> None:
        try:
            question = step.ask(Evidence(self.transcript(), version), datetime.now(UTC))
        except NoEvidenceError:
            return
        if question:
            found = self._answers[version, step.name] = await self._send(version, question)
            self._failures_in_a_row = self._failures_in_a_row + 1 if isinstance(found, Failure) else 0
            if isinstance(found, Failure) and self._failures_in_a_row == _MAX_FAILURES:
                raise _StopError(found.message)

    async def _send(self, version: Version, question: Question) -> Answer | Failure:
        """The answer to one request. If LangSmith asks to wait, the request is sent a second time after that."""
        try:
            answer = await self._send_once(version, question)
            if answer.status == 429:
                self._record_rate_limit(answer)
                if answer.retry_after is None:
                    raise _StopError(RATE_LIMITED)
                await self._sleep(answer.retry_after)
                answer = await self._send_once(version, question)
                if answer.status == 429:
                    self._record_rate_limit(answer)
                    raise _StopError(RATE_LIMITED)
        except FailedAttemptError as exc:
            return Failure(exc.reason, str(exc.error))
        except UpstreamMalformedError as exc:
            return Failure("answer", str(exc))
        return read_answer(answer, self._versions[version])

    async def _send_once(self, version: Version, question: Question) -> PlainAnswer:
        self.request_count += 1
        self._on_request(self.request_count)
        params = self._versions[version].params(question.query, select_statistics=question.selects)
        if question.cursor is not None:
            params = (*params, ("cursor", question.cursor))
        return await self._client.get(self._urls[version], params, self._headers)

    def _record_rate_limit(self, answer: PlainAnswer) -> None:
        self._rate_limited.append("retry-after" in answer.headers)
