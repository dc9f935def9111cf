"""Paths of the files that tests read."""

import json
from pathlib import Path
from typing import Any, Final

TESTS: Final = Path(__file__).parent.parent
ROOT: Final = TESTS.parent
APP: Final = ROOT / "app"
README: Final = ROOT / "README.md"
SCHEMA_FILE: Final = ROOT / "schema.graphql"


def v1_specification() -> dict[str, Any]:
    """Load LangSmith's published description of `GET /api/v1/sessions`: its parameters and fields."""
    specification: dict[str, Any] = json.loads((TESTS / "spec.json").read_text())
    return specification


def v2_specification() -> dict[str, Any]:
    """Load the description of `GET /api/v2/sessions`, as the vendor's shipped clients know it."""
    specification: dict[str, Any] = json.loads((TESTS / "spec_v2.json").read_text())
    return specification
