"""What a request passes before an endpoint sees it: the edge in front of the API, its credential, and a rate limit."""

from collections.abc import Mapping
from uuid import UUID

from app.emulator.behaviour import Behaviour
from app.emulator.errors import ApiError, EdgeError
from app.emulator.fault_injection import RecordedRequest
from app.emulator.timestamps import SECOND
from app.emulator.workspace import Workspace

DEPRECATION: Mapping[str, str] = {"deprecation": "@1782864000", "sunset": "Thu, 01 Jul 2027 00:00:00 GMT"}
"""Headers of version 1 once its end is announced (RFC 9745 and RFC 8594)."""

_WINDOW = 10 * SECOND
_LIBRARIES = ("python-httpx/", "python-requests/", "python-urllib3/", "python/", "aiohttp/", "curl/", "go-http-client/")


def check_edge(request: RecordedRequest, behaviour: Behaviour) -> None:
    """Raises EdgeError for a request that a proxy or a CDN in front of the API does not let through."""
    names = [name for name, _ in request.params]
    if behaviour.max_ids is not None and names.count("id") > behaviour.max_ids:
        raise EdgeError(414)
    if behaviour.strict_edge and request.path.endswith("/sessions"):
        is_sorted = "sort_by" in names and ("sort_by_desc" in names or "sort_order" in names)
        agent = f"{request.headers.get('user-agent', '').lower()} "
        if not is_sorted or agent.isspace() or agent.startswith(_LIBRARIES):
            raise EdgeError(403)


def authenticate(
    headers: Mapping[str, str], workspaces: Mapping[str, Workspace], *, needs_workspace: bool = False
) -> tuple[str, Workspace]:
    """The API key of a request, and its workspace. Raises ApiError.

    `needs_workspace` refuses a key without the header `X-Tenant-Id`.
    """
    key, tenant = headers.get("x-api-key"), headers.get("x-tenant-id")
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if key is None and scheme.lower() == "bearer":
        key = bearer
        # Assumed (organization): an organization id selects the only workspace that the key has in the emulator.
        needs_workspace |= "x-organization-id" not in headers
    else:
        key = key or ""
    if tenant is None and needs_workspace and key:
        raise ApiError(403, "This credential spans workspaces: pick one with X-Tenant-ID")
    workspace = workspaces.get(key)
    if workspace is None:
        raise ApiError(401, "Invalid token")
    if tenant is not None and _parse_id(tenant) != workspace.tenant_id:
        raise ApiError(403, "Forbidden")
    return key, workspace


class RateLimit:
    """Counts requests by API key in fixed windows of ten seconds."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = {}

    def count(self, key: str, now: int, behaviour: Behaviour) -> None:
        """Count a request. Raises ApiError with status 429 if it is above the limit."""
        if behaviour.rate_limit is None:
            return
        window = now // _WINDOW
        count = self._counts[key, window] = self._counts.get((key, window), 0) + 1
        if count > behaviour.rate_limit:
            seconds = -(-((window + 1) * _WINDOW - now) // SECOND)
            headers = {"retry-after": str(seconds)} if behaviour.sends_retry_after else {}
            raise ApiError(429, "Rate limit exceeded", headers=headers)


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ApiError(401, "UUID header value was not a valid UUID") from None
