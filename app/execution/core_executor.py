"""graphql-core's executor, with the bound of an answer."""

from typing import Any

import strawberry

from app.execution.answer_size import AnswerSize


def bounded_executor_class(schema: strawberry.Schema) -> Any:
    """The executor class of the schema, which takes one more keyword argument: the AnswerSize that counts its lists.

    A list that is too long fails its field with a ResultTooLargeError, as a resolver would.
    """
    base: Any = schema.execution_context_class

    class BoundedExecutor(base):  # type: ignore[misc]  # the class is known at run time only
        def __init__(self, *args: Any, answer_size: AnswerSize, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._answer_size = answer_size

        def complete_list_value(
            self, return_type: Any, details: Any, info: Any, path: Any, result: Any, *context: Any
        ) -> Any:
            if hasattr(result, "__len__"):
                self._answer_size.add(len(result))
            return super().complete_list_value(return_type, details, info, path, result, *context)

    return BoundedExecutor
