"""graphql-core's executor, with the bounds of an answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import strawberry

from app.execution.answer_size import AnswerSize
from app.execution.error_bound import BoundedErrors, ErrorBound
from app.resilience.cooperative_scheduler import CooperativeScheduler

_ITEMS_PER_TURN: Final = 25
"""Items of a list that are completed before the event loop serves others. graphql-core takes up to 0.4 ms for each."""


def bounded_executor_class(schema: strawberry.Schema) -> Any:
    """The executor class of the schema, which takes two more keyword arguments.

    - `answer_size`: counts its lists. One that is too long fails its field with a ResultTooLargeError, as a resolver
      would.
    - `error_bound`: receives its errors.

    The long lists next to the root, which hold the rows of an answer, are completed in slots.
    """
    scheduler = CooperativeScheduler()
    base: Any = schema.execution_context_class

    class BoundedExecutor(base):  # type: ignore[misc]  # the class is known at run time only
        def __init__(self, *args: Any, answer_size: AnswerSize, error_bound: ErrorBound, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._answer_size = answer_size
            self.collected_errors = BoundedErrors(error_bound)

        def handle_field_error(self, raw_error: Exception, return_type: Any, details: Any, path: Any) -> None:
            if not self.collected_errors.leaves_out(raw_error, return_type, path):
                super().handle_field_error(raw_error, return_type, details, path)

        def complete_list_value(
            self, return_type: Any, details: Any, info: Any, path: Any, result: Any, *context: Any
        ) -> Any:
            if hasattr(result, "__len__"):
                self._answer_size.add(len(result))
                if len(result) > _ITEMS_PER_TURN and _is_near_root(path) and not info.parent_type.name.startswith("__"):
                    result = _in_slots(result, scheduler)
            return super().complete_list_value(return_type, details, info, path, result, *context)

    return BoundedExecutor


def _is_near_root(path: Any) -> bool:
    """Whether a root field, or a field of one, is at the path."""
    return path.prev is None or path.prev.prev is None


async def _in_slots(items: Sequence[Any], scheduler: CooperativeScheduler) -> AsyncIterator[Any]:
    for start in range(0, len(items), _ITEMS_PER_TURN):
        await scheduler.wait_for_slot()
        for item in items[start : start + _ITEMS_PER_TURN]:
            yield item
