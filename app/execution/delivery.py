"""The delivery of deferred fragments: all are run at once, and delivered as they become ready."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.execution.deferral import DeferredFragment
from app.execution.fragment_reader import KeyTree
from app.execution.request import Response

Path = tuple[str | int, ...]

GROUPING_SECONDS: Final = 0.002
"""How long a fragment that is ready waits for others: a client shows each payload anew, which takes it longer."""
_PLACE_BYTES: Final = 80
"""Approximate length of what the parts say about one place of a fragment, beside its path, label and fields."""
_NO_FIELDS: Final = msgspec.Raw(b"{}")


@dataclass(frozen=True)
class PendingFragment:
    """A fragment that is announced: it will be delivered at each of these places."""

    fragment: DeferredFragment
    paths: Sequence[Path]

    @property
    def overhead_bytes(self) -> int:
        """Approximate length of what the parts say about its places: their paths and ids, and each time its label."""
        named = msgspec.json.encode((self.fragment.path, self.fragment.label))
        return len(self.paths) * (len(named) + _PLACE_BYTES)


@dataclass(frozen=True)
class FragmentAnswer:
    """The answer to the operation of a fragment.

    Args:
        objects: By its place, the JSON object of the fragment's fields.
        errors: Formatted errors of its fields.
        inside: The fragments inside of it that have a place in its answer.
    """

    objects: dict[Path, msgspec.Raw]
    errors: list[dict[str, Any]]
    inside: Sequence[PendingFragment]


@dataclass(frozen=True)
class DeliveredFragment:
    """A fragment that is ready.

    Args:
        fragment: The fragment.
        objects: By its place, the JSON object of the fragment's fields.
        errors: Formatted errors of its fields.
    """

    fragment: DeferredFragment
    objects: dict[Path, msgspec.Raw]
    errors: list[dict[str, Any]]


@dataclass(frozen=True)
class Delivery:
    """What is delivered together.

    Args:
        fragments: The fragments that are ready, each after its parent.
        announced: The fragments inside of those, which are delivered now or later.
        is_last: Whether nothing is pending any more.
    """

    fragments: Sequence[DeliveredFragment]
    announced: Sequence[PendingFragment]
    is_last: bool


@dataclass(frozen=True)
class IncrementalResponse:
    """The answer to a request whose deferred fragments are delivered later.

    Args:
        initial: The answer without the deferred fragments.
        keys: The response keys of that answer.
        pending: The deferred fragments that have a place in it.
        deliveries: Delivers them. It must be closed, also if it was not read to its end.
    """

    initial: Response
    keys: KeyTree
    pending: Sequence[PendingFragment]
    deliveries: AsyncGenerator[Delivery, None]


Run = Callable[[DeferredFragment], Coroutine[Any, Any, FragmentAnswer]]
"""Runs the operation of a fragment. It must not raise, unless there is a bug."""


def pending_fragments(fragments: Sequence[DeferredFragment], data: msgspec.Raw | None) -> list[PendingFragment]:
    """The fragments that have a place in this data."""
    found = ((each, [*objects_at(data, each.path)]) for each in fragments)
    return [PendingFragment(fragment, paths) for fragment, paths in found if paths]


async def deliver(
    fragments: Sequence[DeferredFragment], pending: Sequence[PendingFragment], run: Run
) -> AsyncGenerator[Delivery, None]:
    """Run the pending fragments and those inside of them, and yield them as they become ready.

    `fragments`: all fragments of the operation. Closing the iterator cancels what runs.
    """
    paths = {each.fragment: each.paths for each in pending}
    running: dict[DeferredFragment, asyncio.Task[FragmentAnswer]] = {}
    for fragment in fragments:
        if fragment in paths or (fragment.parent is not None and fragments[fragment.parent] in running):
            running[fragment] = asyncio.create_task(run(fragment))
    try:
        while paths:
            await asyncio.wait([running[each] for each in paths], return_when=asyncio.FIRST_COMPLETED)
            if not all(task.done() for task in running.values()):
                await asyncio.sleep(GROUPING_SECONDS)
            delivered: list[DeliveredFragment] = []
            announced: list[PendingFragment] = []
            for fragment in fragments:
                if fragment not in paths or not running[fragment].done():
                    continue
                answer = running[fragment].result()
                places = {path: answer.objects.get(path, _NO_FIELDS) for path in paths.pop(fragment)}
                delivered.append(DeliveredFragment(fragment, places, answer.errors))
                paths |= {each.fragment: each.paths for each in answer.inside}
                announced += answer.inside
            yield Delivery(delivered, announced, is_last=not paths)
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


def objects_at(data: msgspec.Raw | None, path: Sequence[str]) -> dict[Path, msgspec.Raw]:
    """The JSON objects at these response keys from the root, in every item of the lists on the way, by their paths."""
    return dict(_walk(data, path, ())) if data is not None else {}


def _walk(value: msgspec.Raw, keys: Sequence[str], path: Path) -> Iterator[tuple[Path, msgspec.Raw]]:
    kind = bytes(memoryview(value)[:1])
    if kind == b"[":
        for index, item in enumerate(msgspec.json.decode(value, type=list[msgspec.Raw])):
            yield from _walk(item, keys, (*path, index))
    elif kind == b"{":
        if not keys:
            yield path, value
            return
        below = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        if keys[0] in below:
            yield from _walk(below[keys[0]], keys[1:], (*path, keys[0]))
