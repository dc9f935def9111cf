"""The command: starts the servers, measures them in turn, prints the report, and stops the servers."""

import json
import math
import signal
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import click

from tests.support.real_redis import real_redis

from . import fleet, install, nginx, report, simulation_report
from .answer import AnswerError, differences, rows_of
from .contenders import CONTENDERS, OURS, STATIC, WITH_REDIS, Contender, with_redis
from .first_rows import measure_first_rows
from .fleet import move_to_load_core
from .load import LoadError, measure
from .process import LOAD_CORE, PEER_CORE, Command, Running, StartError, free_port, running
from .report import CONNECTIONS, Result
from .simulation import World
from .workload import SCENARIOS, Cell, Dialect, Kind

_STEADY_SECONDS: Final = 3
"""A contender is warm after this many one-second loads in which its CPU time did not drop by 5 %."""
_TOLERANCE: Final = 0.1
"""Allowed error of upstream requests per request: those in flight when a load ends reach LangSmith unanswered."""
_NAMES: Final = (*CONTENDERS, WITH_REDIS, "nginx")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
@click.option("--scenarios", default=",".join(SCENARIOS), show_default=True, help="Scenarios, separated by commas.")
@click.option("--kinds", default=",".join(Kind), show_default=True, help="Kinds, separated by commas.")
@click.option(
    "--peers",
    default=",".join(_NAMES),
    show_default=True,
    help="Contenders, separated by commas; ours is always measured.",
)
@click.option("--seconds", default=2, show_default=True, help="Seconds that each load lasts.")
@click.option("--rounds", default=3, show_default=True, help="Loads per contender and cell.")
@click.option("--quick", is_flag=True, help="One second, one round and a short warm-up: a first impression.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file as well.")
def main(
    context: click.Context,
    scenarios: str,
    kinds: str,
    peers: str,
    seconds: int,
    rounds: int,
    quick: bool,
    json_file: Path | None,
) -> None:
    """Measure the gateway next to its peers. The commands below measure its cache and its use of Redis."""
    if context.invoked_subcommand:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = _chosen(peers, _NAMES, "--peers")
    cells = [
        Cell(SCENARIOS[scenario], Kind(kind))
        for scenario in _chosen(scenarios, SCENARIOS, "--scenarios")
        for kind in _chosen(kinds, list(Kind), "--kinds")
    ]
    _install()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        bench = Bench(
            Path(folder),
            seconds=1 if quick else seconds,
            rounds=1 if quick else rounds,
            warm_ups=3 if quick else 20,
        )
        contenders = [CONTENDERS[name] for name in CONTENDERS if name in names or name == OURS.name]
        if WITH_REDIS in names:
            redis = stack.enter_context(real_redis())
            move_to_load_core(redis)
            contenders.insert(1, with_redis(redis.url))
        bench.prepare(contenders)
        bench.run(cells, with_static="nginx" in names)
    click.echo(report.as_markdown(bench.results, bench.excluded, bench.notes))
    if json_file:
        figures = report.as_json(bench.results, bench.excluded, bench.notes)
        json_file.write_text(json.dumps(figures, indent=1) + "\n")


@main.command("simulate")
@click.option("--seed", default=1, show_default=True, help="Seed of the random trace of requests.")
@click.option("--tenants", default=100, show_default=True, help="Number of tenants; few of them are busy.")
@click.option("--viewers", default=1000, show_default=True, help="Number of people who look at dashboards.")
@click.option("--minutes", default=3.0, show_default=True, help="Length of the trace in minutes of virtual time.")
@click.option("--workers", default="1,4,16,64", show_default=True, help="Numbers of workers, separated by commas.")
def simulate(seed: int, tenants: int, viewers: int, minutes: float, workers: str) -> None:
    """Simulate a fleet of workers and count its requests to LangSmith."""
    world = World(seed=seed, tenants=tenants, viewers=viewers, minutes=minutes)
    click.echo(simulation_report.simulate(world, [int(each) for each in workers.split(",")]))


@main.command("redis")
@click.option("--seconds", default=3, show_default=True, help="Seconds that each load lasts.")
def redis(seconds: int) -> None:
    """Measure two real workers without Redis, with a real Redis, and while that Redis is killed."""
    _install()
    click.echo(fleet.measure_fleet(seconds))


@main.command("first-rows")
@click.option("--columns", default=0.05, show_default=True, help="Seconds that LangSmith takes for a page.")
@click.option("--statistics", default=3.0, show_default=True, help="Seconds that statistics take longer.")
def first_rows(columns: float, statistics: float) -> None:
    """Measure how soon clients have the first rows, and everything, with `@defer` and without."""
    click.echo(measure_first_rows(columns, statistics))


def _install() -> None:
    try:
        install.debian_packages(nginx="nginx-light", wrk="wrk")
    except install.NotInstalledError as exc:
        raise click.ClickException(str(exc)) from None


def _chosen(text: str, known: Iterable[str], option: str) -> list[str]:
    chosen = [each.strip() for each in text.split(",")]
    if unknown := set(chosen) - set(known):
        raise click.UsageError(f"{option}: unknown {', '.join(sorted(unknown))}; choose from {', '.join(known)}.")
    return chosen


@dataclass
class _Entrant:
    """A contender that is running for the current cell. `bodies` is the file with the requests that it receives."""

    name: str
    running: Running
    bodies: Path
    result: Result


@dataclass
class Bench:
    """One run of the benchmark: its results, the contenders that it excluded, and notes about the figures.

    `seconds` is the length of each load, `rounds` the number of loads per contender and cell, and `warm_ups` the
    largest number of one-second loads before the first round. `excluded` maps names to reasons.
    """

    folder: Path
    seconds: int
    rounds: int
    warm_ups: int
    contenders: list[Contender] = field(default_factory=list)
    results: dict[tuple[str, Kind], dict[str, Result]] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def prepare(self, contenders: Iterable[Contender]) -> None:
        for each in contenders:
            try:
                each.prepare()
                self.contenders.append(each)
            except install.NotInstalledError as exc:
                self._exclude(each.name, str(exc))

    def run(self, cells: Iterable[Cell], *, with_static: bool) -> None:
        """Measure all cells. `with_static`: also measure nginx with the gateway's answer as a static file."""
        port = free_port()
        command = nginx.langsmith(self.folder / "langsmith", port)
        with running(command, port, self.folder / "langsmith.log", core=LOAD_CORE) as langsmith:
            for cell in cells:
                _print(cell.name)
                self._measure(cell, langsmith, with_static=with_static)

    def _measure(self, cell: Cell, langsmith: Running, *, with_static: bool) -> None:
        with ExitStack() as stack:
            entrants = self._start_all(stack, cell, langsmith, with_static=with_static)
            for number in range(self.rounds):
                for each in entrants:
                    self._measure_round(each, langsmith, number)
            measured = [each for each in entrants if each.result.figures]
            for each in measured:
                each.result.rss = each.running.rss()
                self._check_upstream_requests(each, cell)
            self.results[cell.scenario.name, cell.kind] = {each.name: each.result for each in measured}

    def _start_all(self, stack: ExitStack, cell: Cell, langsmith: Running, *, with_static: bool) -> list[_Entrant]:
        entrants: list[_Entrant] = []
        expected: list[bytes] = []
        for each in self.contenders:
            if cell.kind not in each.kinds:
                continue
            port = free_port()
            entrant = self._start(stack, each.name, each.dialect, cell, each.start(cell, port, langsmith.origin), port)
            if entrant is None:
                continue
            try:
                answers = self._fetch_answers(entrant, cell.requests(each.dialect))
                expected = expected or answers
                self._compare(each.name, cell, expected, answers)
                self._warm_up(entrant, langsmith)
            except (AnswerError, LoadError, OSError) as exc:
                self._exclude(f"{each.name}, {cell.name}", f"{exc}\n{entrant.running.last_lines()}".strip())
                continue
            entrants.append(entrant)
        if with_static and cell.kind is Kind.REPEATED and expected:
            port = free_port()
            command = nginx.static(self.folder / "static", port, expected[0])
            limit = self._start(stack, STATIC, OURS.dialect, cell, command, port)
            entrants += [limit] if limit else []
        return entrants

    def _start(
        self, stack: ExitStack, name: str, dialect: Dialect, cell: Cell, command: Command, port: int
    ) -> _Entrant | None:
        bodies = self.folder / f"{name}.requests"
        bodies.write_text("".join(f"{body}\n" for body in cell.requests(dialect)))
        try:
            started = stack.enter_context(running(command, port, self.folder / f"{name}.log", core=PEER_CORE))
        except StartError as exc:
            self._exclude(f"{name}, {cell.name}", str(exc))
            return None
        return _Entrant(name, started, bodies, Result(started.ready))

    def _fetch_answers(self, entrant: _Entrant, requests: list[str]) -> list[bytes]:
        """Return the answer to each request. Raises AnswerError for a status other than 200."""
        answers: list[bytes] = []
        for number, body in enumerate(requests):
            status, answer = entrant.running.post(body.replace("@OFFSET@", str(number)))
            if status != HTTPStatus.OK:
                raise AnswerError(f"answered {status}: {answer[:500]!r}")
            answers.append(answer)
        return answers

    def _warm_up(self, entrant: _Entrant, langsmith: Running) -> None:
        """Put load on the contender until its CPU time stops falling, because just-in-time compilers need a while."""
        best, steady_seconds = math.inf, 0
        for _ in range(self.warm_ups):
            cpu = measure(entrant.running, entrant.bodies, langsmith, connections=8, seconds=1).cpu
            steady_seconds = steady_seconds + 1 if cpu > best * 0.95 else 0
            best = min(best, cpu)
            if steady_seconds == _STEADY_SECONDS:
                break

    def _compare(self, name: str, cell: Cell, expected: list[bytes], answers: list[bytes]) -> None:
        for ours, theirs in zip(expected, answers, strict=True):
            differing = differences(rows_of(ours, cell.aliases()), rows_of(theirs, cell.aliases()))
            if differing:
                self._note(f"{name}, {cell.name}: differs from ours in {', '.join(differing)}")
                return

    def _measure_round(self, entrant: _Entrant, langsmith: Running, number: int) -> None:
        for connections in CONNECTIONS:
            try:
                figures = measure(
                    entrant.running, entrant.bodies, langsmith, connections=connections, seconds=self.seconds
                )
            except (LoadError, OSError) as exc:
                self._note(f"{entrant.name}: {exc}")
                continue
            entrant.result.figures.append(figures)
            _print(
                f"  {number + 1} {entrant.name}, {connections}: {figures.per_second:.0f}/s, {figures.cpu:.0f} µs CPU"
                + (f", {figures.failed} failed" if figures.failed else "")
            )

    def _check_upstream_requests(self, entrant: _Entrant, cell: Cell) -> None:
        """Note it if the contender did not send one request to LangSmith per miss, and none per hit."""
        upstream = entrant.result.of(8, lambda figures: figures.upstream_per_request)
        if abs(upstream - cell.kind.upstream_per_request) > _TOLERANCE:
            self._note(f"{entrant.name}, {cell.name}: {upstream:.2f} requests to LangSmith per request")

    def _exclude(self, name: str, reason: str) -> None:
        self.excluded[name] = reason
        _print(f"  excluded: {name}: {reason}")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        _print(f"  note: {text}")


def _print(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
