"""Strategies: which of the ranked targets are taken. One function per file, all listed here."""

from collections.abc import Callable

from services.scheduler.choosing import Chosen
from services.scheduler.selection import Contest
from services.scheduler.strategies.best_fit import best_fit
from services.scheduler.strategies.binpack import binpack
from services.scheduler.strategies.spread import spread

Strategy = Callable[[Contest], Chosen]

STRATEGIES: dict[str, Strategy] = {"BestFit": best_fit, "Spread": spread, "Binpack": binpack}
