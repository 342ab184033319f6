"""The small ids that stand for names in the database, remembered; and who owns which machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from serving.database import bulk
from serving.database.engine import Database
from serving.database.rows import layout_key
from serving.database.tables import assets, layouts, models
from serving.registry.audit import Act
from serving.registry.owners import Found, adopt, gateway_id, hold
from serving.registry.settings import RegistrySettings

_MOST_DECLINED = 100_000


class Owned(NamedTuple):
    """A machine; `gateway` None: the centre owns its twin. Class "": not known yet."""

    id: int
    gateway: int | None
    term: int
    asset_class: str


class Layout(NamedTuple):
    kind: str
    asset_class: str
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return layout_key(self.kind, self.asset_class, self.body)


class Names:
    """Belongs to one thread. What is not known yet is learnt in a transaction of its own, so that what is remembered
    here is in the database whatever becomes of the messages it came with."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.gateways: dict[str, int] = {}
        self.models: dict[str, int] = {}
        self.layouts: dict[str, int] = {}
        self.assets: dict[str, Owned] = {}
        self._settings = settings
        self._version = 0
        self._declined: set[Found] = set()  # not adopted; until the registry changes

    def learn(
        self,
        database: Database,
        at: int,
        sites: dict[str, str],
        model_ids: Iterable[str],
        found: Iterable[Layout],
        machines: Iterable[tuple[str, str, str, int]],
    ) -> None:
        """What a group of messages names: gateways with their sites, models, layouts, and machines as (asset, class,
        gateway, term). Machines nobody has registered are adopted, if that is allowed."""
        new_sites = {name: site for name, site in sites.items() if name not in self.gateways}
        new_models = [name for name in set(model_ids) if name not in self.models]
        new_layouts = {key: each for each in found if (key := each.key) not in self.layouts}
        if new_sites or new_models or new_layouts:
            with database.write() as connection:
                ids = {name: gateway_id(connection, name, site, at) for name, site in sorted(new_sites.items())}
                known_models = _model_ids(connection, sorted(new_models), at)
                known_layouts = _layout_ids(connection, dict(sorted(new_layouts.items())))
            self.gateways |= ids
            self.models |= known_models
            self.layouts |= known_layouts
        if self._settings.adopt:
            self._adopt(database, at, machines)

    def refresh(self, connection: Connection) -> None:
        """Hold the registry until the end of the transaction; read it anew if it has changed."""
        version = hold(connection)
        if version != self._version:
            query = select(assets.c.name, assets.c.id, assets.c.gateway, assets.c.term, assets.c.asset_class)
            self.assets = {name: Owned(*rest) for name, *rest in connection.execute(query)}
            self._version = version
            self._declined.clear()

    def _adopt(self, database: Database, at: int, machines: Iterable[tuple[str, str, str, int]]) -> None:
        wanted: dict[tuple[str, int], Found] = {}
        for name, asset_class, gateway, term in machines:
            known, owner = self.assets.get(name), self.gateways[gateway]
            newer = known is not None and known.gateway == owner and known.term < term
            learnt = known is not None and known.gateway == owner and asset_class and not known.asset_class
            if known is None or newer or learnt:
                before = wanted.get((name, owner))
                if before is not None:
                    asset_class, term = before.asset_class or asset_class, max(before.term, term)
                wanted[name, owner] = Found(name, asset_class, owner, term)
        found = sorted(set(wanted.values()) - self._declined)
        if not found:
            return
        with database.write() as connection:
            adopted = adopt(connection, Act("hub", at, "its gateway sends it"), found, self._settings.most)
        if adopted:
            self._version = 0  # read anew
        elif len(self._declined) < _MOST_DECLINED:
            self._declined.update(found)


def _model_ids(connection: Connection, names: list[str], at: int) -> dict[str, int]:
    bulk.insert(connection, models, {"model_id": names, "at": [at] * len(names)})
    query = select(models.c.model_id, models.c.id).where(models.c.model_id.in_(names))
    return {row[0]: row[1] for row in connection.execute(query)}


def _layout_ids(connection: Connection, found: dict[str, Layout]) -> dict[str, int]:
    columns = {
        "sha256": list(found),
        "kind": [each.kind for each in found.values()],
        "asset_class": [each.asset_class for each in found.values()],
        "body": [bulk.json_text(each.body) for each in found.values()],
    }
    bulk.insert(connection, layouts, columns)
    query = select(layouts.c.sha256, layouts.c.id).where(layouts.c.sha256.in_(list(found)))
    return {row[0]: row[1] for row in connection.execute(query)}
