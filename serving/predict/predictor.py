"""Prognoses of twins that are not stored: the work of a lane."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from serving.errors import AwayError, ServingError
from serving.predict.answers import answer
from serving.predict.ask import Ask
from serving.predict.run import fresh, run

Job = TypeVar("Job")
Result = TypeVar("Result")
log = logging.getLogger(__name__)


def predict(asks: Sequence[Ask]) -> list[bytes | BaseException]:
    """The answer to each, as JSON, or why there is none. Asks of one bundle go through the graph together."""
    return each_alone_if_it_fails(asks, _predict)


def dump(told: Any) -> bytes:
    """JSON; float32 values keep all their digits, so that they come back bit by bit."""
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def each_alone_if_it_fails(
    jobs: Sequence[Job], work: Callable[[Sequence[Job]], list[Result]]
) -> list[Result | BaseException]:
    """`work` on all; if that raises, on each by itself, so that one that cannot be done takes nobody with it."""
    try:
        return list(work(jobs))
    except AwayError as error:  # the same for all
        return [error] * len(jobs)
    except ServingError as error:
        if len(jobs) == 1:
            return [error]
    except Exception as error:
        log.exception("%d requests in one group failed", len(jobs))
        if len(jobs) == 1:
            return [error]
    return [result for job in jobs for result in each_alone_if_it_fails([job], work)]


def _predict(asks: Sequence[Ask]) -> list[bytes]:
    together: dict[int, list[int]] = {}
    for place, ask in enumerate(asks):
        together.setdefault(id(ask.served), []).append(place)
    told: dict[int, bytes] = {}
    for places in together.values():
        own = [asks[place] for place in places]
        served = own[0].served
        done = run(served, own, [fresh(served, len(ask.assets)) for ask in own])
        for place, ask, ran in zip(places, own, done, strict=True):
            told[place] = dump(answer(ask, ran, stored=False))
    return [told[place] for place in range(len(asks))]
