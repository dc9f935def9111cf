"""graphql-core's executor, with the bounds of an answer."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Any, Final

from graphql import GraphQLList, GraphQLOutputType, GraphQLResolveInfo
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.execution.answer_size import AnswerSize
from app.execution.error_bound import BoundedErrors, ErrorBound
from app.resilience.cooperative_scheduler import CooperativeScheduler

_ITEMS_PER_SLOT: Final = 25
"""Items of a list that are completed before the event loop serves others. graphql-core takes up to 0.4 ms for each."""


class BoundedExecutor(StrawberryGraphQLCoreExecutionContext):
    """The executor of one operation. The long lists next to the root, which hold its rows, are completed in slots.

    Args:
        answer_size: Counts the lists. One that is too long fails its field with a ResultTooLargeError, as a resolver
            would.
        error_bound: Receives the errors.
        scheduler: Hands out the slots.
    """

    def __init__(
        self,
        *args: Any,
        answer_size: AnswerSize,
        error_bound: ErrorBound,
        scheduler: CooperativeScheduler,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._answer_size = answer_size
        self._scheduler = scheduler
        self.collected_errors = self._bounded_errors = BoundedErrors(error_bound)

    def handle_field_error(
        self,
        raw_error: Exception,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        path: Path,
    ) -> None:
        if not self._bounded_errors.leaves_out(raw_error, return_type, path):
            super().handle_field_error(raw_error, return_type, field_details_list, path)

    def complete_list_value(
        self,
        return_type: GraphQLList[GraphQLOutputType],
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: AsyncIterable[Any] | Iterable[Any],
        position_context: Any,
    ) -> Any:
        if isinstance(result, Sequence):
            self._answer_size.add(len(result))
            if len(result) > _ITEMS_PER_SLOT and _is_near_root(path) and not info.parent_type.name.startswith("__"):
                result = self._in_slots(result)
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    async def _in_slots(self, items: Sequence[Any]) -> AsyncIterator[Any]:
        for start in range(0, len(items), _ITEMS_PER_SLOT):
            await self._scheduler.wait_for_slot()
            for item in items[start : start + _ITEMS_PER_SLOT]:
                yield item


def _is_near_root(path: Path) -> bool:
    """Whether a root field, or a field of one, is at the path."""
    return path.prev is None or path.prev.prev is None
