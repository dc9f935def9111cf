"""The Markdown pages say what the code does: generated parts, examples, links and the names that they mention."""

import re
from pathlib import Path

import pytest

import app
from app.settings import Settings
from tests.operations.rewrite_docs import run_example
from tests.support import reference_parts
from tests.support.markdown import GENERATED, Example, anchors, examples, links, pages
from tests.support.paths import APP, README, ROOT

PAGES = pages()
EXAMPLES = list(examples())
PARTS = [(page, name, text.strip("\n")) for page in PAGES for _, name, text, _ in GENERATED.findall(page.read_text())]
REWRITE = "run `python -m tests.operations.rewrite_docs`"
SETTING = re.compile(r"\b(?:GATEWAY|LANGSMITH)_[A-Z_]+\b")
PATH = re.compile(r"`((?:app|tests)/[\w./-]+)`")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(("page", "name", "text"), PARTS, ids=[f"{name_of(page)}-{name}" for page, name, _ in PARTS])
def test_generated_part_of_a_page_equals_the_code(page: Path, name: str, text: str) -> None:
    assert text == reference_parts.generated_part(name, page), REWRITE


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_comments_of_a_page_enclose_its_generated_parts(page: Path) -> None:
    assert page.read_text().count("<!-- generated: ") == sum(each == page for each, _, _ in PARTS)


def test_each_generated_part_stands_on_exactly_one_page() -> None:
    assert sorted(name for _, name, _ in PARTS if "/" not in name) == sorted(reference_parts.GENERATED_PARTS)


@pytest.mark.parametrize("example", EXAMPLES, ids=[each.title for each in EXAMPLES])
async def test_documented_example_shows_its_answer_and_upstream_requests(example: Example) -> None:
    assert await run_example(example.query) == (example.answer, example.requests), REWRITE


def test_pages_have_five_examples() -> None:
    assert len(EXAMPLES) == 5


def test_errors_page_explains_every_error_code() -> None:
    assert sorted(reference_parts.ERROR_MEANINGS) == sorted(reference_parts.error_codes())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_to_existing_files_and_headings(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_index_of_the_reference_links_every_page() -> None:
    index = APP / "README.md"
    linked = {(index.parent / each).resolve() for each in links(index)}
    assert set(PAGES) - {index} <= linked


def test_front_page_links_every_page_of_the_reference() -> None:
    linked = {(ROOT / each.partition("#")[0]).resolve() for each in links(README)}
    assert set(PAGES) - {README} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_names_only_settings_that_exist(page: Path) -> None:
    known = {str(each.validation_alias or f"GATEWAY_{name.upper()}") for name, each in Settings.model_fields.items()}
    assert {each for each in SETTING.findall(page.read_text()) if not each.endswith("_")} <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_names_only_files_that_exist(page: Path) -> None:
    assert [each for each in PATH.findall(page.read_text()) if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_names_only_metrics_that_exist(page: Path) -> None:
    named = set(re.findall(r"`(gateway_\w+)`", page.read_text()))
    assert named <= reference_parts.metric_names()


def test_map_of_the_package_names_only_files_that_exist() -> None:
    package_map = app.__doc__ or ""
    named = re.findall(r"^    (\w+/)", package_map, re.MULTILINE) + re.findall(r"\b\w+/[\w/]+\.py", package_map)
    assert len(named) > 20
    assert [each for each in named if not (APP / each).exists() and not (ROOT / each).exists()] == []
