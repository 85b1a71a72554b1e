"""Sides of a comparison take turns: the machine is shared, and what one minute gives another does not."""

from collections.abc import Awaitable, Callable, Mapping

from bench.report import Report, Samples

Side = Callable[[], Awaitable[float]]


async def alternate(report: Report, sides: Mapping[str, Side]) -> dict[str, Samples]:
    """Measures each side once a round, in turns, after a round that is not counted. Each returns one figure."""
    for side in sides.values():
        await side()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(report.rounds):
        # Every other round goes backwards, so that nobody always comes after the same neighbour
        for name in sides if number % 2 else reversed(sides):
            found[name].append(await sides[name]())
    return {name: Samples(tuple(figures)) for name, figures in found.items()}
