"""`sessions-gateway check` from end to end: files in, printed report and exit status out."""

from pathlib import Path

from tests.check.command import ID, ORDER, run
from tests.support.paths import APP
from tests.test_command_line import ended


def test_check_joins_fragments_over_files() -> None:
    Path("deep/er").mkdir(parents=True)
    Path("deep/a.graphql").write_text("query A { sessions(first: 3) { nodes { ...Row } } }")
    Path("deep/er/b.graphql").write_text(f'\nquery Bee {{\n  session(id: "{ID}") {{ ...Row }}\n}}\n')
    Path("deep/row.graphql").write_text("fragment Row on Session { name ...Counts }")
    Path("deep/er/counts.graphql").write_text("fragment Counts on Session { runCount }")
    Path("deep/er/other.txt").write_text("no GraphQL")
    printed = run("deep/**/*.graphql")
    assert printed.stderr == ""
    assert printed.stdout == (
        "query A    deep/a.graphql:1:1     cost 3 of 150\n"
        f"  GET /api/v1/sessions?{ORDER}&limit=3&include_stats=true&stats_select=run_count\n"
        "query Bee  deep/er/b.graphql:2:1  cost 3 of 150\n"
        f"  GET /api/v1/sessions?id={ID}&{ORDER}&limit=1&include_stats=true&stats_select=run_count\n"
        "\n2 operations, 2 requests, 0 errors, 0 warnings\n"
    )
    assert printed.exit_code == 0


def test_check_exits_with_2_for_a_bad_setting_and_without_patterns() -> None:
    Path("it.graphql").write_text("{ __typename }")
    printed = run("it.graphql", environment={"GATEWAY_MAX_COST": "much"})
    assert (printed.exit_code, printed.stdout, printed.stderr.count("\n")) == (2, "", 1)
    assert printed.stderr.startswith("GATEWAY_MAX_COST: ")
    assert run().exit_code == 2


def test_check_prints_only_its_report_and_exits_with_1_for_errors(tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text("query A { sessions(first: 3) { nodes { name } } }")
    report = f"query A  a.graphql:1:1  cost 2 of 150\n  GET /api/v1/sessions?{ORDER}&limit=3\n"
    code, out, err = ended("-m", "app", "check", "**/*.graphql", cwd=tmp_path, PYTHONWARNINGS="error")
    assert (code, out, err) == (0, f"{report}\n1 operation, 1 request, 0 errors, 0 warnings\n", "")
    (tmp_path / "b.graphql").write_text("query B { nope }")
    code, _, _ = ended("-m", "app", "check", "**/*.graphql", cwd=tmp_path)
    assert code == 1


def test_page_about_check_shows_what_check_prints() -> None:
    Path("src").mkdir()
    Path("src/Projects.graphql").write_text(
        "query Projects($search: String!, $after: String) {\n"
        "  sessions(first: 50, after: $after, filter: { nameContains: $search }) {\n"
        '    nodes { ...Row day: stats(last: "PT24H") { errorRate } }\n    pageInfo { hasNextPage endCursor }\n  }\n}\n'
    )
    Path("src/Row.graphql").write_text("fragment Row on Session { id name runCount latencyP99 }")
    printed = run("src/**/*.graphql", environment={"GATEWAY_MAX_COST": "4"})
    assert f"check 'src/**/*.graphql'\n{printed.stdout}```" in (APP / "check" / "README.md").read_text()
