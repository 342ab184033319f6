"""Bundles for a hub, which seldom needs one: loaded when one is asked for."""

from __future__ import annotations

import logging
import time

from serving.models.catalogue import Catalogue
from serving.models.served import Served
from serving.models.settings import ModelsSettings

log = logging.getLogger(__name__)

_PAUSE = 60.0  # s until the sources are looked at again for a bundle that is not there


class Bundles:
    """Those that the service would serve."""

    def __init__(self, settings: ModelsSettings) -> None:
        self._settings = settings
        self._catalogue: Catalogue | None = None
        self._next = 0.0  # monotonic seconds

    def find(self, model_id: str) -> Served | None:
        if self._catalogue is None:
            self._catalogue = Catalogue.of(self._settings)
        found = self._catalogue.shelf.by_model(model_id)
        if found is None and time.monotonic() >= self._next:
            for line in self._catalogue.refresh():
                log.info(line)
            self._next = time.monotonic() + _PAUSE
            found = self._catalogue.shelf.by_model(model_id)
        return found
