"""All routes about machines, from two desks: histories and replays take long, and hold up no approval."""

from __future__ import annotations

from serving.api.assets import Assets
from serving.api.assignment import Assignments
from serving.api.call import Route
from serving.api.centre import Centre
from serving.api.commands import CommandRoutes
from serving.api.desk import Desk
from serving.api.history import History
from serving.api.plants import Plants


def machine_routes(centre: Centre) -> list[Route]:
    desk, archive = Desk(centre), Desk(centre)
    parts = Assets(desk), Assignments(desk), History(archive), Plants(desk), CommandRoutes(desk)
    return [route for part in parts for route in part.routes()]
