"""A workspace and its sessions, generated from a seed and an API key."""

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any
from uuid import UUID, uuid5

from app.emulator.run import Feedback, Pace, Runs
from app.emulator.session import Session
from app.emulator.timestamps import DAY, HOUR


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset that experiments run on. `versions` are the times of its versions."""

    id: UUID
    name: str
    versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The data that one API key gives access to.

    `sessions` are sorted by id. `added` is the number of projects that were added after the data was generated.
    """

    tenant_id: UUID
    datasets: tuple[Dataset, ...]
    tag_values: tuple[UUID, ...]
    sessions: tuple[Session, ...]
    added: int = 0

    def session(self, identifier: UUID) -> Session | None:
        return next((session for session in self.sessions if session.id == identifier), None)

    def with_project(self, name: str, *, started: int) -> tuple["Workspace", Session]:
        """This workspace with one more tracing project, which has no runs, and the project."""
        identifier = uuid5(self.tenant_id, str(self.added))
        runs = Runs(str(identifier), pace="idle", born=started, ended=started, now=started, huge=False)
        project = Session(
            id=identifier,
            tenant_id=self.tenant_id,
            name=name,
            description=None,
            started=started,
            ended=None,
            extra={},
            trace_tier=None,
            default_dataset_id=None,
            reference_dataset_id=None,
            test_run_number=None,
            tag_value_ids=frozenset(),
            feedback=(),
            runs=runs,
            old_format=False,
        )
        sessions = sorted((*self.sessions, project), key=lambda session: session.id)
        return replace(self, sessions=tuple(sessions), added=self.added + 1), project

    def without(self, identifier: UUID) -> "Workspace":
        """This workspace without one of its sessions."""
        return replace(self, sessions=tuple(session for session in self.sessions if session.id != identifier))

    @classmethod
    @lru_cache(maxsize=8)
    def generate(cls, key: str, *, seed: int, size: int, now: int) -> "Workspace":
        """A workspace of `size` sessions, two in five of them experiments, with data around the timestamp `now`.

        Workspaces are immutable, so emulators with equal arguments share one, including its runs.
        """
        rng = random.Random(f"{seed}/{key}")
        tenant_id = _random_uuid(rng)
        datasets = tuple(Dataset(id=_random_uuid(rng), name=name, versions=_VERSIONS) for name in _DATASETS)
        tag_values = tuple(_random_uuid(rng) for _ in range(6))
        generator = _SessionGenerator(rng, tenant_id, datasets, tag_values, now)
        experiments = size * 2 // 5
        sessions = [generator.project(name) for name in _project_names(rng, size - experiments)]
        sessions += [generator.experiment(number) for number in range(experiments)]
        sessions.sort(key=lambda session: session.id)
        return cls(tenant_id=tenant_id, datasets=datasets, tag_values=tag_values, sessions=tuple(sessions))


class _SessionGenerator:
    def __init__(
        self,
        rng: random.Random,
        tenant_id: UUID,
        datasets: tuple[Dataset, ...],
        tag_values: tuple[UUID, ...],
        now: int,
    ) -> None:
        self._rng, self._tenant_id, self._datasets, self._tag_values = rng, tenant_id, datasets, tag_values
        self._now = now

    def project(self, name: str) -> Session:
        rng = self._rng
        pace: Pace = rng.choices(("busy", "daily", "weekly", "idle"), (55, 20, 15, 10))[0]
        youngest = 6 * HOUR if pace == "busy" else 5 * DAY
        started = self._now - youngest - int(400 * DAY * rng.random() ** 2)
        environment = name.rsplit("-", 1)[-1]
        metadata = {"env": environment, "team": rng.choice(_TEAMS), "revision": rng.randint(1, 40)}
        extra: dict[str, Any] = {"metadata": metadata, "tags": rng.sample(_TAGS, rng.randint(0, 3))}
        dataset = rng.choice(self._datasets) if rng.random() < 0.25 else None
        return self._session(
            name,
            started=started,
            ended=None,
            pace=pace,
            extra=extra if rng.random() < 0.9 else {},
            default_dataset_id=dataset.id if dataset else None,
        )

    def experiment(self, number: int) -> Session:
        rng = self._rng
        dataset = self._datasets[number % len(self._datasets)]
        model = rng.choice(_MODELS)
        # Each round of experiments is younger than the one before, so that their numbers follow their start times.
        round_number = number // len(self._datasets)
        age = HOUR + int(60 * DAY * 0.75**round_number * (0.8 + 0.2 * rng.random()))
        metadata = {
            "model": model,
            "dataset_version": rng.choice(dataset.versions),
            "num_repetitions": rng.choice((1, 1, 3)),
            "git": {"branch": rng.choice(("main", "feature/ünïcode")), "dirty": rng.random() < 0.3},
        }
        return self._session(
            f"{dataset.name}-{model}-{rng.getrandbits(32):08x}",
            started=self._now - age,
            ended=self._now - age + int(HOUR * (0.2 + 0.8 * rng.random())),
            pace="burst" if rng.random() < 0.92 else "idle",
            extra={"metadata": metadata, "tags": [model, *rng.sample(_TAGS, rng.randint(0, 1))]},
            reference_dataset_id=dataset.id,
            test_run_number=1 + round_number,
        )

    def _session(
        self,
        name: str,
        *,
        started: int,
        ended: int | None,
        pace: Pace,
        extra: dict[str, Any],
        default_dataset_id: UUID | None = None,
        reference_dataset_id: UUID | None = None,
        test_run_number: int | None = None,
    ) -> Session:
        rng, identifier = self._rng, _random_uuid(self._rng)
        return Session(
            id=identifier,
            tenant_id=self._tenant_id,
            name=name,
            description=rng.choice(_DESCRIPTIONS),
            started=started,
            ended=ended,
            extra=extra,
            trace_tier=rng.choice(("longlived", "shortlived", None)),
            default_dataset_id=default_dataset_id,
            reference_dataset_id=reference_dataset_id,
            test_run_number=test_run_number,
            tag_value_ids=frozenset(rng.sample(self._tag_values, rng.choice((0, 0, 1, 2, 3)))),
            feedback=_session_feedback(rng),
            runs=Runs(
                str(identifier),
                pace=pace,
                born=started,
                ended=ended or self._now,
                now=self._now,
                # A huge project would dwarf the others in every chart, so only experiments are huge.
                huge=rng.random() < 0.06 and reference_dataset_id is not None,
            ),
            old_format=rng.random() < 0.3,
        )


_PRODUCTS = (
    "support-agent", "sales-copilot", "rag-search", "invoice-extractor", "code-review-bot", "onboarding-assistant",
    "legal-summarizer", "ticket-router", "voice-concierge", "data-analyst", "email-drafter", "churn-explainer",
    "übersetzungs-agent", "客服助手", "café-concierge", "contract-qa", "meeting-notes", "hr-helpdesk",
    "product-search", "fraud-triage", "travel-planner", "sql-writer", "doc-indexer", "Release-Notes",
)  # fmt: skip
_ENVIRONMENTS = ("prod", "staging", "dev", "canary", "eu", "nightly")
_DATASETS = ("rag-eval", "support-answers", "extraction-golden", "routing-regression", "red-team", "übersetzung")
_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet", "gemini-pro", "llama-70b")
_VERSIONS = ("2025-01-15T09:00:00+00:00", "2025-06-01T12:30:00+00:00", "2025-10-20T08:15:30.250000+00:00")
_TEAMS = ("support", "growth", "platform", "søk & språk")
_TAGS = ("customer-facing", "gdpr", "pilot", "v2", "🔥 hot path")
_DESCRIPTIONS = (
    None,
    None,
    "Answers customers in the chat widget.",
    "Nightly regression over the golden set.",
    'Prompt "v7", temperature 0.\nSee the runbook.',
    "Réponses courtes · 日本語も可 🚀",
    "",
)


def _project_names(rng: random.Random, count: int) -> list[str]:
    names = ["-".join(parts) for parts in product(_PRODUCTS, _ENVIRONMENTS)]
    rng.shuffle(names)
    return [names[i % len(names)] + (f"-{i // len(names) + 1}" if i >= len(names) else "") for i in range(count)]


def _session_feedback(rng: random.Random) -> tuple[Feedback, ...]:
    if rng.random() < 0.6:
        return ()
    feedback = [Feedback("overall", round(rng.random(), 2), None, "api") for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        feedback.append(Feedback("verdict", None, rng.choice(("SHIP", "HOLD")), "app", "Reviewed by Zoë."))
    return tuple(feedback)


def _random_uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
