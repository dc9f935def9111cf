"""The command: starts everything, measures in turn, prints the report, and ends everything."""

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

from . import findings, fixed, fleet, install, report
from .answer import AnswerError, differences, rows_of
from .contenders import CONTENDERS, OURS, STATIC, Contender
from .load import LoadError, measure
from .process import LOAD_CORE, PEER_CORE, Command, Running, StartError, free_port, running
from .report import Result
from .simulation import World
from .workload import SCENARIOS, Cell, Dialect, Kind

_CONNECTIONS: Final = (1, 8)
_STEADY: Final = 3
"""So many seconds without getting cheaper by a twentieth, and a contender is warm."""
_TOLERANCE: Final = 0.1
"""Requests under way when a load ends reach LangSmith and are not counted as answered."""


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
@click.option("--scenarios", default=",".join(SCENARIOS), show_default=True, help="Which, separated by commas.")
@click.option("--kinds", default=",".join(Kind), show_default=True, help="Which, separated by commas.")
@click.option(
    "--peers", default=",".join([*CONTENDERS, "nginx"]), show_default=True, help="Whom; ours is always there."
)
@click.option("--seconds", default=3, show_default=True, help="How long each load lasts.")
@click.option("--rounds", default=3, show_default=True, help="How often each contender has its turn in a cell.")
@click.option("--quick", is_flag=True, help="One second, one round, hardly warm: a first impression.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every figure there too.")
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
    """Measure the gateway beside its peers, or with a command, something else of it."""
    if context.invoked_subcommand:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = _chosen(peers, [*CONTENDERS, "nginx"], "--peers")
    cells = [
        Cell(SCENARIOS[scenario], Kind(kind))
        for scenario in _chosen(scenarios, SCENARIOS, "--scenarios")
        for kind in _chosen(kinds, list(Kind), "--kinds")
    ]
    _install()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(
            Path(folder),
            seconds=1 if quick else seconds,
            rounds=1 if quick else rounds,
            warm_ups=3 if quick else 20,
        )
        bench.prepare([CONTENDERS[name] for name in CONTENDERS if name in names or name == OURS.name])
        bench.run(cells, static="nginx" in names)
    click.echo(report.as_markdown(bench.results, bench.left_out, bench.notes))
    if json_file:
        found = report.as_json(bench.results, bench.left_out, bench.notes)
        json_file.write_text(json.dumps(found, indent=1) + "\n")


@main.command("simulate")
@click.option("--seed", default=1, show_default=True, help="Another one makes another trace.")
@click.option("--tenants", default=100, show_default=True, help="How many there are; few of them are busy.")
@click.option("--viewers", default=1000, show_default=True, help="How many look at the tenants' dashboards.")
@click.option("--minutes", default=3.0, show_default=True, help="How long they do, in virtual time.")
@click.option("--workers", default="1,4,16,64", show_default=True, help="Numbers of workers, separated by commas.")
def simulate(seed: int, tenants: int, viewers: int, minutes: float, workers: str) -> None:
    """How often the workers of a simulated fleet ask LangSmith."""
    world = World(seed=seed, tenants=tenants, viewers=viewers, minutes=minutes)
    click.echo(findings.simulate(world, [int(each) for each in workers.split(",")]))


@main.command("redis")
@click.option("--seconds", default=3, show_default=True, help="How long each load lasts.")
def redis(seconds: int) -> None:
    """Two real workers under load, with a real Redis and without, and while it is killed."""
    _install()
    click.echo(fleet.measured(seconds))


def _install() -> None:
    try:
        install.debian(nginx="nginx-light", wrk="wrk")
    except install.NotInstalledError as exc:
        raise click.ClickException(str(exc)) from None


def _chosen(text: str, known: Iterable[str], option: str) -> list[str]:
    chosen = [each.strip() for each in text.split(",")]
    if unknown := set(chosen) - set(known):
        raise click.UsageError(f"{option}: {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
    return chosen


@dataclass
class _Entrant:
    """A contender that runs in the cell at hand, with the file of what it is asked."""

    name: str
    running: Running
    bodies: Path
    result: Result


@dataclass
class Bench:
    """One run: what was measured, who was left out and why, and what is to be said of the figures."""

    folder: Path
    seconds: int
    rounds: int
    warm_ups: int
    contenders: list[Contender] = field(default_factory=list)
    results: dict[tuple[str, Kind], dict[str, Result]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def prepare(self, contenders: Iterable[Contender]) -> None:
        for each in contenders:
            try:
                each.prepare()
                self.contenders.append(each)
            except install.NotInstalledError as exc:
                self._leave_out(each.name, str(exc))

    def run(self, cells: Iterable[Cell], *, static: bool) -> None:
        port = free_port()
        command = fixed.langsmith(self.folder / "langsmith", port)
        with running(command, port, self.folder / "langsmith.log", core=LOAD_CORE) as langsmith:
            for cell in cells:
                _say(cell.name)
                self._measure(cell, langsmith, static=static)

    def _measure(self, cell: Cell, langsmith: Running, *, static: bool) -> None:
        with ExitStack() as stack:
            entrants = self._started(stack, cell, langsmith, static=static)
            for turn in range(self.rounds):
                for each in entrants:
                    self._take_turn(each, langsmith, turn)
            measured = [each for each in entrants if each.result.figures]
            for each in measured:
                each.result.rss = each.running.rss()
                self._doubt(each, cell)
            self.results[cell.scenario.name, cell.kind] = {each.name: each.result for each in measured}

    def _started(self, stack: ExitStack, cell: Cell, langsmith: Running, *, static: bool) -> list[_Entrant]:
        entrants: list[_Entrant] = []
        expected: list[bytes] = []
        for each in self.contenders:
            if cell.kind not in each.kinds:
                continue
            port = free_port()
            entrant = self._entered(
                stack, each.name, each.dialect, cell, each.start(cell, port, langsmith.origin), port
            )
            if entrant is None:
                continue
            try:
                answers = self._asked(entrant, cell.requests(each.dialect))
                expected = expected or answers
                self._compare(each.name, cell, expected, answers)
                self._warm_up(entrant, langsmith)
            except (AnswerError, LoadError, OSError) as exc:
                self._leave_out(f"{each.name}, {cell.name}", f"{exc}\n{entrant.running.last_lines()}".strip())
                continue
            entrants.append(entrant)
        if static and cell.kind is Kind.REPEATED and expected:
            port = free_port()
            command = fixed.static(self.folder / "static", port, expected[0])
            limit = self._entered(stack, STATIC, OURS.dialect, cell, command, port)
            entrants += [limit] if limit else []
        return entrants

    def _entered(
        self, stack: ExitStack, name: str, dialect: Dialect, cell: Cell, command: Command, port: int
    ) -> _Entrant | None:
        bodies = self.folder / f"{name}.requests"
        bodies.write_text("".join(f"{body}\n" for body in cell.requests(dialect)))
        try:
            started = stack.enter_context(running(command, port, self.folder / f"{name}.log", core=PEER_CORE))
        except StartError as exc:
            self._leave_out(f"{name}, {cell.name}", str(exc))
            return None
        return _Entrant(name, started, bodies, Result(started.ready))

    def _asked(self, entrant: _Entrant, requests: list[str]) -> list[bytes]:
        """The answers to each request, for comparison."""
        answers: list[bytes] = []
        for number, body in enumerate(requests):
            status, answer = entrant.running.post(body.replace("@OFFSET@", str(number)))
            if status != HTTPStatus.OK:
                raise AnswerError(f"answered {status}: {answer[:500]!r}")
            answers.append(answer)
        return answers

    def _warm_up(self, entrant: _Entrant, langsmith: Running) -> None:
        """Load until it gets no cheaper: just-in-time compilers take their time."""
        best, worse = math.inf, 0
        for _ in range(self.warm_ups):
            cpu = measure(entrant.running, entrant.bodies, langsmith, connections=8, seconds=1).cpu
            worse = worse + 1 if cpu > best * 0.95 else 0
            best = min(best, cpu)
            if worse == _STEADY:
                break

    def _compare(self, name: str, cell: Cell, expected: list[bytes], answers: list[bytes]) -> None:
        for ours, theirs in zip(expected, answers, strict=True):
            found = differences(rows_of(ours, cell.aliases()), rows_of(theirs, cell.aliases()))
            if found:
                self._note(f"{name}, {cell.name}: differs from ours in {', '.join(found)}")
                return

    def _take_turn(self, entrant: _Entrant, langsmith: Running, turn: int) -> None:
        for connections in _CONNECTIONS:
            try:
                figures = measure(
                    entrant.running, entrant.bodies, langsmith, connections=connections, seconds=self.seconds
                )
            except (LoadError, OSError) as exc:
                self._note(f"{entrant.name}: {exc}")
                continue
            entrant.result.figures.append(figures)
            _say(
                f"  {turn + 1} {entrant.name}, {connections}: {figures.per_second:.0f}/s, {figures.cpu:.0f} µs CPU"
                + (f", {figures.failed} failed" if figures.failed else "")
            )

    def _doubt(self, entrant: _Entrant, cell: Cell) -> None:
        """A cell is what it says only if LangSmith was asked each time, or hardly ever."""
        asked = entrant.result.of(8, lambda one: one.asked)
        if abs(asked - (cell.kind is Kind.MISS)) > _TOLERANCE:
            self._note(f"{entrant.name}, {cell.name}: LangSmith got {asked:.2f} requests for one")

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        _say(f"  left out: {name}: {reason}")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        _say(f"  note: {text}")


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
