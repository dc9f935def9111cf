"""The table of assumptions, and the `Assumed` marks of the package, which name its rows."""

import re
from collections.abc import Iterator

import pytest

from app.doctor.assumptions import ASSUMPTIONS, Assumption
from app.doctor.probes import PROBES
from app.settings import Settings
from app.settings_errors import variable_names
from tests.support.paths import APP

MARK = re.compile(r"\bAssumed(?: \(([\w-]+)\))?:")


def marks() -> Iterator[tuple[str, str | None]]:
    """The module and the row of every mark in the package; None for a mark that names no row."""
    for path in sorted(APP.rglob("*.py")):
        for mark in MARK.finditer(path.read_text()):
            yield path.relative_to(APP).as_posix(), mark[1]


MARKS = list(marks())


@pytest.mark.parametrize(("module", "name"), MARKS, ids=[f"{module}-{name}" for module, name in MARKS])
def test_each_mark_names_a_row_of_the_table(module: str, name: str | None) -> None:
    assert name in ASSUMPTIONS


def test_the_package_has_marks() -> None:
    assert len(MARKS) >= 26


def test_each_row_is_named_by_a_mark_or_checked_by_a_probe() -> None:
    assert ASSUMPTIONS.keys() == {name for _, name in MARKS} | {probe.name for probe in PROBES}


def test_the_probes_follow_the_order_of_the_table() -> None:
    names = [probe.name for probe in PROBES]
    assert len(names) == len(set(names))
    assert names == [name for name in ASSUMPTIONS if name in names]


@pytest.mark.parametrize("name", [probe.name for probe in PROBES])
def test_a_row_with_a_probe_says_what_follows(name: str) -> None:
    assert ASSUMPTIONS[name].otherwise.endswith(".")


@pytest.mark.parametrize("row", ASSUMPTIONS.values(), ids=list(ASSUMPTIONS))
def test_a_row_fits_into_the_table_for_people(row: Assumption) -> None:
    assert len(row.assumes) <= 48
    assert row.setting is None or row.setting[0] in variable_names(Settings)
    assert not (row.is_built_on and not row.otherwise)
