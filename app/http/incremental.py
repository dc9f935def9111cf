"""Incremental delivery: an answer in parts, as the body of a `multipart/mixed` response.

Two formats are in use:

- `incrementalSpec=v0.2` is the present draft of the specification. Each place of a fragment is announced under an id,
  and each field is sent once.
- `deferSpec=20220824` is an earlier draft. A fragment is sent with its path and its label, and with all of its fields.

A part is sent together with the boundary that ends it, because clients wait for that boundary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from app.execution import Delivery, IncrementalResponse
from app.execution.deferral import DeferredFragment
from app.execution.delivery import DeliveredFragment, Path, PendingFragment
from app.execution.fragment_reader import KeyTree, merge_keys
from app.http.negotiation import IncrementalFormat
from app.resilience.cooperative_scheduler import CooperativeScheduler

T = TypeVar("T")

Payload = dict[str, Any]

_PART_HEAD: Final = b"content-type: application/json; charset=utf-8\r\n\r\n"
_BOUNDARY: Final = b"\r\n---\r\n"
_LAST_BOUNDARY: Final = b"\r\n-----\r\n"
_encoder: Final = msgspec.json.Encoder()


class MultipartWriter:
    """Writes one incremental answer as the parts of a multipart body.

    Args:
        response: The answer.
        format: The format of the parts.
        extensions: Returns the `extensions` of a payload that is sent now; None without any.
        scheduler: Each fragment is written in a slot of its own.
    """

    def __init__(
        self,
        response: IncrementalResponse,
        format: IncrementalFormat,
        extensions: Callable[[], Payload | None],
        scheduler: CooperativeScheduler,
    ) -> None:
        self._response = response
        self._is_draft = format is IncrementalFormat.DRAFT
        self._extensions = extensions
        self._scheduler = scheduler
        self._ids: dict[tuple[DeferredFragment, Path], str] = {}
        self._sent: KeyTree = {}
        merge_keys(self._sent, response.keys)
        self._reported = {_identity(error) for error in response.initial.errors}

    async def first(self) -> bytes:
        """The part with everything that is not deferred."""
        payload = self._response.initial.as_json()
        if self._is_draft:
            payload["pending"] = await self._in_slots(self._announce, self._response.pending)
        return _BOUNDARY + self._part(payload, is_last=False)

    async def next(self, delivery: Delivery) -> bytes:
        """The part with these fragments."""
        payload: Payload = {}
        if not self._is_draft:
            payload["incremental"] = await self._in_slots(self._whole_entries, delivery.fragments)
            return self._part(payload, is_last=delivery.is_last)
        if delivery.announced:
            payload["pending"] = await self._in_slots(self._announce, delivery.announced)
        payload["incremental"] = await self._in_slots(self._entries, delivery.fragments)
        payload["completed"] = await self._in_slots(self._completed, delivery.fragments)
        return self._part(payload, is_last=delivery.is_last)

    def _part(self, payload: Payload, *, is_last: bool) -> bytes:
        payload["hasNext"] = not is_last
        if extensions := self._extensions():
            payload["extensions"] = extensions
        return _PART_HEAD + _encoder.encode(payload) + (_LAST_BOUNDARY if is_last else _BOUNDARY)

    async def _in_slots(self, entries_of: Callable[[T], Iterator[Payload]], fragments: Sequence[T]) -> msgspec.Raw:
        """The encoded list of what is said about these fragments."""
        encoded: list[bytes] = []
        for each in fragments:
            await self._scheduler.wait_for_slot()
            encoded.append(_encoder.encode([*entries_of(each)])[1:-1])
        return msgspec.Raw(b"[" + b",".join(filter(None, encoded)) + b"]")

    def _announce(self, pending: PendingFragment) -> Iterator[Payload]:
        for path in pending.paths:
            number = self._ids[pending.fragment, path] = str(len(self._ids))
            yield {"id": number, "path": path, **_label(pending.fragment.label)}

    def _completed(self, delivered: DeliveredFragment) -> Iterator[Payload]:
        return ({"id": self._ids[delivered.fragment, path]} for path in delivered.objects)

    def _entries(self, delivered: DeliveredFragment) -> Iterator[Payload]:
        """The entries of the draft: the fields of a fragment that were not sent before."""
        fragment = delivered.fragment
        sent = self._sent
        for key in fragment.path:
            sent = sent.setdefault(key, {})
        for path, value, errors in self._with_errors(delivered):
            number = self._ids[fragment, path]
            pieces = [*_unsent(value, fragment.keys, sent, ())] or ([((), {})] if errors else [])
            for position, (sub_path, piece) in enumerate(pieces):
                yield {
                    "id": number,
                    "data": piece,
                    **({"subPath": sub_path} if sub_path else {}),
                    **({"errors": errors} if errors and position == 0 else {}),
                }
        merge_keys(sent, fragment.keys)

    def _whole_entries(self, delivered: DeliveredFragment) -> Iterator[Payload]:
        """The entries of the earlier format: all fields of a fragment, by path."""
        for path, value, errors in self._with_errors(delivered):
            entry: Payload = {"path": path, **_label(delivered.fragment.label), "data": value}
            yield entry | {"errors": errors} if errors else entry

    def _with_errors(self, delivered: DeliveredFragment) -> Iterator[tuple[Path, msgspec.Raw, list[Payload]]]:
        """Each object of a fragment, with its path and its errors. The first one has the errors of all and of none.

        A field can be in several fragments. Its error is sent once.
        """
        by_path: dict[Path, list[Payload]] = {path: [] for path in delivered.objects}
        first = next(iter(by_path))
        for error in delivered.errors:
            if _identity(error) in self._reported:
                continue
            self._reported.add(_identity(error))
            place = tuple(error.get("path") or ())
            around = (place[:length] for length in range(len(place), -1, -1))
            by_path[next((path for path in around if path in by_path), first)].append(error)
        for path, value in delivered.objects.items():
            yield path, value, by_path[path]


def _unsent(
    value: msgspec.Raw, keys: KeyTree, sent: KeyTree, path: Path
) -> Iterator[tuple[Path, msgspec.Raw | dict[str, msgspec.Raw]]]:
    """The parts of an object that were not sent before, each with its path below the object.

    `keys`: the response keys of the object. `sent`: those that were sent before.
    """
    match bytes(memoryview(value)[:1]):
        case b"[":
            for index, item in enumerate(msgspec.json.decode(value, type=list[msgspec.Raw])):
                yield from _unsent(item, keys, sent, (*path, index))
        case b"{" if not keys.keys() & sent.keys():
            yield path, value
        case b"{":
            below = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
            if piece := {key: each for key, each in below.items() if key not in sent}:
                yield path, piece
            for key, each in below.items():
                if key in sent and keys[key]:
                    yield from _unsent(each, keys[key], sent[key], (*path, key))


def _identity(error: Payload) -> tuple[Path, str]:
    """What tells an error from others: its path and its message."""
    return tuple(error.get("path") or ()), error["message"]


def _label(label: str | None) -> Payload:
    return {} if label is None else {"label": label}
