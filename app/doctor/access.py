"""Whether LangSmith can be asked at all, and what to do if it cannot."""

from typing import Final

from app.doctor.answers import VERSIONS, Answer, Evidence, Failure, Transcript

_BASE_URL: Final = (
    "LANGSMITH_ENDPOINT must be the base URL of LangSmith, such as https://api.smith.langchain.com or "
    "https://<host>/api."
)
_KEY: Final = "LangSmith does not accept the key. Check LANGSMITH_API_KEY, and that LANGSMITH_ENDPOINT is its region."
_WORKSPACE: Final = f"{_KEY} LANGSMITH_WORKSPACE_ID must be the UUID of a workspace."
_FORBIDDEN: Final = (
    "LangSmith refuses the key here. Set LANGSMITH_WORKSPACE_ID if the key is one of an organization, and check that "
    "LANGSMITH_ENDPOINT is its region."
)
_EDGE: Final = (
    "Something in front of LangSmith, such as a CDN or a firewall, refuses the request. Ask whoever runs it to let the "
    "gateway through."
)
RATE_LIMITED: Final = (
    "LangSmith's rate limit is reached. Run the doctor again when other programs with this key are quiet."
)


def why_to_stop(transcript: Transcript) -> str | None:
    """Why no further question makes sense, and what to do, for people; None if the next one should be asked."""
    v1, v2 = (Evidence(transcript, version).find("columns") for version in VERSIONS)
    if transcript.answering:
        return None
    if v2 is None:
        return _why_not_to_ask_v2(v1, has_workspace=transcript.has_workspace)
    if isinstance(v2, Answer) and v2.is_missing:
        is_missing = isinstance(v1, Answer) and v1.is_missing
        return f"There is no list of sessions at this URL. {_BASE_URL}" if is_missing else _explain(v1)
    return _explain(v2, has_workspace=transcript.has_workspace)


def _why_not_to_ask_v2(v1: Answer | Failure | None, *, has_workspace: bool) -> str | None:
    """Why version 2 need not be asked after this answer of version 1; None if it might answer nevertheless."""
    may_answer = isinstance(v1, Answer) and (v1.is_missing or v1.status == 422 or v1.status >= 500)
    return None if v1 is None or may_answer else _explain(v1, has_workspace=has_workspace)


def _explain(found: Answer | Failure | None, *, has_workspace: bool = False) -> str:
    if isinstance(found, Failure):
        return found.message
    match found and (found.status, found.is_html):
        case 401, _:
            text = _WORKSPACE if has_workspace else _KEY
        case 403, False:
            text = _FORBIDDEN
        case 403, True:
            text = _EDGE
        case 200, _:
            text = f"Something else than a list of sessions came back. {_BASE_URL}"
        case int(status), _ if 300 <= status < 400:
            text = f"LangSmith redirects to another URL (status {status}). {_BASE_URL}"
        case int(status), _ if status < 500:
            text = f"LangSmith refuses to list sessions (status {status}). {_BASE_URL}"
        case int(status), _:
            text = f"LangSmith answers with status {status}. Try again later."
        case _:
            text = "Nothing was asked."
    return text
