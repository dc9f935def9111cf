"""A workspace and its sessions, made up from a seed and the key that opens it."""

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any
from uuid import UUID

from .moment import DAY, HOUR
from .run import Feedback, Pace, Runs
from .session import Session


@dataclass(frozen=True, kw_only=True)
class Dataset:
    id: UUID
    name: str
    versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What one key sees. `sessions` come in the order of their ids."""

    tenant_id: UUID
    datasets: tuple[Dataset, ...]
    tag_values: tuple[UUID, ...]
    sessions: tuple[Session, ...]

    def session(self, identifier: UUID) -> Session | None:
        return next((session for session in self.sessions if session.id == identifier), None)

    @classmethod
    @lru_cache(maxsize=8)
    def made_up(cls, key: str, *, seed: int, size: int, now: int) -> "Workspace":
        """A workspace of `size` sessions, two in five of them experiments, seen from `now`.

        It is frozen, and shared by emulators that ask for the same one, with its runs.
        """
        dice = random.Random(f"{seed}/{key}")
        tenant_id = _identifier(dice)
        datasets = tuple(Dataset(id=_identifier(dice), name=name, versions=_VERSIONS) for name in _DATASETS)
        tag_values = tuple(_identifier(dice) for _ in range(6))
        maker = _Maker(dice, tenant_id, datasets, tag_values, now)
        experiments = size * 2 // 5
        sessions = [maker.project(name) for name in _project_names(dice, size - experiments)]
        sessions += [maker.experiment(number) for number in range(experiments)]
        sessions.sort(key=lambda session: session.id)
        return cls(tenant_id=tenant_id, datasets=datasets, tag_values=tag_values, sessions=tuple(sessions))


class _Maker:
    def __init__(
        self,
        dice: random.Random,
        tenant_id: UUID,
        datasets: tuple[Dataset, ...],
        tag_values: tuple[UUID, ...],
        now: int,
    ) -> None:
        self._dice, self._tenant_id, self._datasets, self._tag_values = dice, tenant_id, datasets, tag_values
        self._now = now

    def project(self, name: str) -> Session:
        dice = self._dice
        pace: Pace = dice.choices(("busy", "daily", "weekly", "idle"), (55, 20, 15, 10))[0]
        youngest = 6 * HOUR if pace == "busy" else 5 * DAY
        started = self._now - youngest - int(400 * DAY * dice.random() ** 2)
        environment = name.rsplit("-", 1)[-1]
        metadata = {"env": environment, "team": dice.choice(_TEAMS), "revision": dice.randint(1, 40)}
        extra: dict[str, Any] = {"metadata": metadata, "tags": dice.sample(_TAGS, dice.randint(0, 3))}
        dataset = dice.choice(self._datasets) if dice.random() < 0.25 else None
        return self._session(
            name,
            started=started,
            ended=None,
            pace=pace,
            extra=extra if dice.random() < 0.9 else {},
            default_dataset_id=dataset.id if dataset else None,
        )

    def experiment(self, number: int) -> Session:
        dice = self._dice
        dataset = self._datasets[number % len(self._datasets)]
        model = dice.choice(_MODELS)
        # Each round is younger than the one before it, so that numbers follow start times.
        turn = number // len(self._datasets)
        age = HOUR + int(60 * DAY * 0.75**turn * (0.8 + 0.2 * dice.random()))
        metadata = {
            "model": model,
            "dataset_version": dice.choice(dataset.versions),
            "num_repetitions": dice.choice((1, 1, 3)),
            "git": {"branch": dice.choice(("main", "feature/ünïcode")), "dirty": dice.random() < 0.3},
        }
        return self._session(
            f"{dataset.name}-{model}-{dice.getrandbits(32):08x}",
            started=self._now - age,
            ended=self._now - age + int(HOUR * (0.2 + 0.8 * dice.random())),
            pace="burst" if dice.random() < 0.92 else "idle",
            extra={"metadata": metadata, "tags": [model, *dice.sample(_TAGS, dice.randint(0, 1))]},
            reference_dataset_id=dataset.id,
            test_run_number=1 + turn,
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
        dice, identifier = self._dice, _identifier(self._dice)
        return Session(
            id=identifier,
            tenant_id=self._tenant_id,
            name=name,
            description=dice.choice(_DESCRIPTIONS),
            started=started,
            ended=ended,
            extra=extra,
            trace_tier=dice.choice(("longlived", "shortlived", None)),
            default_dataset_id=default_dataset_id,
            reference_dataset_id=reference_dataset_id,
            test_run_number=test_run_number,
            tag_value_ids=frozenset(dice.sample(self._tag_values, dice.choice((0, 0, 1, 2, 3)))),
            feedback=_verdicts(dice),
            runs=Runs(
                str(identifier),
                pace=pace,
                born=started,
                ended=ended or self._now,
                now=self._now,
                # Of projects, one would dwarf the others wherever they are compared.
                huge=dice.random() < 0.06 and reference_dataset_id is not None,
            ),
            old_style=dice.random() < 0.3,
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


def _project_names(dice: random.Random, count: int) -> list[str]:
    names = ["-".join(parts) for parts in product(_PRODUCTS, _ENVIRONMENTS)]
    dice.shuffle(names)
    return [names[i % len(names)] + (f"-{i // len(names) + 1}" if i >= len(names) else "") for i in range(count)]


def _verdicts(dice: random.Random) -> tuple[Feedback, ...]:
    if dice.random() < 0.6:
        return ()
    verdicts = [Feedback("overall", round(dice.random(), 2), None, "api") for _ in range(dice.randint(1, 4))]
    if dice.random() < 0.3:
        verdicts.append(Feedback("verdict", None, dice.choice(("SHIP", "HOLD")), "app", "Reviewed by Zoë."))
    return tuple(verdicts)


def _identifier(dice: random.Random) -> UUID:
    return UUID(int=dice.getrandbits(128), version=4)
