"""Tables of figures, the targets that they are held to, and whether those were met."""

import os
import platform
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True)
class Samples:
    """One figure, measured once a round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def over(self, base: "Samples") -> float:
        """This as a multiple of another that was measured in the same rounds: the median of the rounds' ratios.

        What disturbs the machine disturbs both sides of a round, and so leaves its ratio alone.
        """
        return statistics.median(ours / theirs for ours, theirs in zip(self.rounds, base.rounds, strict=True))

    def __str__(self) -> str:
        low, high = min(self.rounds), max(self.rounds)
        return number(self.median) if low == high else f"{number(self.median)} ({number(low)}-{number(high)})"


@dataclass
class Table:
    """One table. Each row has a figure, and may have a target; `remark` says what the figure leaves out."""

    title: str
    unit: str
    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    missed: int = 0

    def row(self, name: str, figure: Samples | float | str, remark: str = "") -> None:
        """A figure that is nobody's target: a peer, or what a target is measured against."""
        self.rows.append((name, figure if isinstance(figure, str) else _figure(figure), "", "", remark))

    def ratio(
        self,
        name: str,
        ours: Samples,
        base: Samples,
        of: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        remark: str = "",
    ) -> None:
        """A figure as a multiple of another, named by `of`, from the same rounds."""
        times = ours.over(base)
        target, verdict = self._judge(times, at_least, at_most)
        self.rows.append((name, str(ours), f"{times:.2f} x {of}", f"{target} {verdict}".strip(), remark))

    def limit(
        self,
        name: str,
        figure: Samples | float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        remark: str = "",
    ) -> None:
        """A figure that has a target of its own, in the unit of the table."""
        value = figure.median if isinstance(figure, Samples) else figure
        target, verdict = self._judge(value, at_least, at_most)
        self.rows.append((name, _figure(figure), "", f"{target} {verdict}".strip(), remark))

    def _judge(self, value: float, at_least: float | None, at_most: float | None) -> tuple[str, str]:
        target = f">= {number(at_least)}" if at_least is not None else ""
        if at_most is not None:
            target = f"<= {number(at_most)}"
        if not target:
            return "", ""
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        self.missed += not met
        return target, "met" if met else "MISSED"

    def __str__(self) -> str:
        head = ("", self.unit, "ratio", "target", "remark")
        used = [n for n in range(5) if n < 2 or any(row[n] for row in self.rows)]
        lines = [[row[n] for n in used] for row in (head, *self.rows)]
        widths = [max(len(line[n]) for line in lines) for n in range(len(used))]
        text = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join((f"### {self.title}", "", *text, ""))


class Report:
    """What a benchmark is given: how long to measure, and where its tables go."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self._tables: list[Table] = []
        self._open: Table | None = None
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {platform.system()}", end=", ")
        print(f"Python {platform.python_version()}{', QUICK: the figures mean little' if quick else ''}\n")

    @property
    def seconds(self) -> float:
        """How long one side is measured in one round."""
        return 0.3 if self.quick else 2.0

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return 2 if self.quick else 5

    def begin(self, name: str, words: str) -> None:
        """The heading of a benchmark."""
        self.flush()
        print(f"## {name}\n\n{words}\n", flush=True)

    def table(self, title: str, unit: str) -> Table:
        """A new table; the former one is finished, and printed."""
        self.flush()
        self._open = Table(title, unit)
        self._tables.append(self._open)
        return self._open

    def flush(self) -> None:
        """Prints the table that is open."""
        if self._open is not None:
            print(self._open, flush=True)
            self._open = None

    def end(self) -> int:
        """Prints what remains and returns the exit status: 1 when a target was missed and targets are judged."""
        self.flush()
        missed = sum(table.missed for table in self._tables)
        if self.quick:
            print(f"{missed} targets missed; not judged, since this was quick")
            return 0
        print("every target met" if not missed else f"{missed} targets missed")
        return bool(missed)


def number(value: float) -> str:
    """Three significant digits, thousands separated, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _figure(figure: Samples | float) -> str:
    return str(figure) if isinstance(figure, Samples) else number(figure)
