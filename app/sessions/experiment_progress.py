"""The progress of an experiment, which LangSmith sends as an object. It is decoded when it is selected."""

from collections.abc import Callable
from typing import Any

import msgspec
import strawberry

from app.sessions.decoding import MALFORMED, decode_struct, is_null, read_attribute
from app.sessions.scalars import BigInt


@strawberry.type(description="How far an evaluator has come.")
class EvaluatorProgress:
    key: str = strawberry.field(description="Name of the evaluator. It is unique in the list.")
    progress: float | None = strawberry.field(description="Share of its evaluations that are done, from 0 to 1.")


@strawberry.type(description="How far an experiment has come.")
class ExperimentProgress:
    expected_run_count: BigInt | None = strawberry.field(description="Number of runs that the experiment will have.")
    run_progress: float | None = strawberry.field(description="Share of the runs that are done, from 0 to 1.")
    evaluators: list[EvaluatorProgress] | None = strawberry.field(
        description="How far each evaluator has come, ordered as LangSmith sent them."
    )


class _Progress(msgspec.Struct, gc=False):
    """The decoded object. Its shares are Inferred to be from 0 to 1."""

    expected_run_count: int | None = None
    run_progress: float | None = None
    evaluator_progress: dict[str, float | None] | None = None

    @property
    def evaluators(self) -> Any:
        by_key: Any = self.evaluator_progress
        if by_key is None or by_key is MALFORMED:
            return by_key
        return [EvaluatorProgress(key=key, progress=progress) for key, progress in by_key.items()]


def progress_resolver(name: str) -> Callable[..., ExperimentProgress | None]:
    """Create the resolver of the progress in the row's attribute of this name."""

    def resolve(root: strawberry.Parent[Any]) -> Any:
        value = read_attribute(root, name)
        return None if value is None or is_null(value) else decode_struct(value, _Progress)

    return resolve
