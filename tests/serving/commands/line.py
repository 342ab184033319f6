"""All of the way of a command, real: service, database, hub, broker, gateway, a Modbus device."""

from contextlib import ExitStack

from edge_runtime.clock import SystemClock
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from serving.commands.send import CommandSender
from serving.commands.settings import CommandSettings
from serving.database.queries import list_gateways
from serving.hub.hub import Hub
from serving.hub.settings import BrokerSettings, HubSettings
from serving.registry.settings import RegistrySettings
from tests.edge_runtime.broker import until
from tests.edge_runtime.gateway.plant import GATEWAY, write_plant
from tests.edge_runtime.sources.modbus.modbus_server import ModbusServer
from tests.serving.commands.rig import KEY, PUBLIC, Service

SOURCE = """
[[source]]
type = "modbus"
name = "line"
host = "127.0.0.1"
port = {port}
every = 0.5
values = [
  {{ asset = "p-1", channel = "speed", address = 4, type = "float32", writable = true }},
  {{ asset = "p-2", channel = "speed", address = 8, type = "float32", writable = true }},
]
"""
COMMANDS = """
[commands]
enabled = true
public_key = "centre.public.pem"
stop_file = "stop"
allow = [{ asset = "p-1", channel = "speed", low = 600, high = 1500, per_minute = 600 }]
"""


class Device(ModbusServer):
    """Keeps what is written to it: (address, registers)."""

    def __init__(self):
        super().__init__()
        self.writes = []

    async def _action(self, function, start, address, count, registers, values):
        if values is not None and function in (6, 16):
            self.writes.append((address, list(values)))
        return await super()._action(function, start, address, count, registers, values)


class Line:
    """`hub` and `gateway` may be stopped and started again."""

    def __init__(self, folder, database, broker, *, commands=COMMANDS, **settings):
        self.folder, self.database, self.broker = folder, database, broker
        self.settings = CommandSettings(enabled=True, per_minute=100, **settings)
        self.service = Service(folder / "service", database, self.settings, SystemClock())
        self._stack, self._commands = ExitStack(), commands
        self.hub = self.gateway = None

    def __enter__(self):
        self.device = self._stack.enter_context(Device())
        text = (
            GATEWAY
            + SOURCE.replace("{port}", str(self.device.port))
            + self._commands.replace("{", "{{").replace("}", "}}")
        )
        self.config = write_plant(self.folder / "gateway", text, link=self.broker.url)
        (self.config.parent / "centre.public.pem").write_bytes(PUBLIC)
        self.stop_file = self.config.parent / "stop"
        return self

    def __exit__(self, *_):
        for stop in (self.stop_gateway, self.stop_hub):
            stop()
        self._stack.close()

    def start_hub(self, name="hub", key=KEY):
        settings = HubSettings(name=name, wait=0.02)
        sender = CommandSender(self.settings, key)
        broker = BrokerSettings(url=self.broker.url)
        self.hub = Hub(self.database, broker, settings, RegistrySettings(), SystemClock(), [sender])
        self.hub.start()
        until(lambda: self.hub.ready, 30, "the hub's connection")

    def stop_hub(self):
        if self.hub is not None:
            self.hub.stop()
            self.hub = None

    def start_gateway(self):
        self.gateway = Gateway(read_config(self.config))
        self.gateway.start()
        until(lambda: self.gateway.link.status().connected, 30, "the gateway's connection")
        until(lambda: self.gateway.sources[0].status().connected, 30, "the connection to the device")
        if self.hub is not None:
            until(lambda: self.seen() == "online", 30, "the gateway's status")

    def stop_gateway(self):
        if self.gateway is not None:
            self.gateway.stop()
            self.gateway = None
            if self.hub is not None:
                until(lambda: self.seen() == "offline", 30, "the gateway's good-bye")

    def seen(self):
        """What the centre thinks the gateway is."""
        with self.database.read() as connection:
            return list_gateways(connection)[0].state

    def ended(self, command, seconds=60):
        """The command once it is over."""
        found = {}

        def over():
            found.update(self.service.read(command))
            return found["status"] not in ("waiting_for_approval", "queued", "sent")

        until(over, seconds, f"the end of {found}")
        return found
