"""An OPC UA server that plays a file of observations, at a chosen speed, with its times as source timestamps.

Each channel of each machine is a node ns=2;s=<asset>.<channel>. What was not received is not told; what a client has
written stays."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.simulate.opcua_library import load_only, load_server, load_users
from edge_runtime.simulate.player import (
    add_playing,
    open_recording,
    play_and_stay,
    quoted,
    require_port,
    run_until_interrupted,
)
from edge_runtime.sources.interface import is_loopback
from edge_runtime.sources.opcua.library import OpcuaError, load_ua, require_asyncua
from edge_runtime.sources.opcua.security import check_key, form, load_certificates
from edge_runtime.sources.replay.recording import Block, Recording, Row, Side

URI = "urn:overhaul:simulator"
NAMESPACE = "urn:overhaul:simulator:machines"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@dataclass(frozen=True)
class ServerSecurity:
    """`trusted`: the one client certificate that is let in; None = any. Files are PEM or DER."""

    policy: str
    certificate: Path
    key: Path
    trusted: Path | None = None
    user: str | None = None
    password: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_playing(parser, 4840)
    parser.add_argument("--writable", action="append", default=[], metavar="CHANNEL", help="may be given several times")
    parser.add_argument(
        "--waveform", action="append", default=[], metavar="CHANNEL:AXES", help="from FILE's side file; several times"
    )
    policies = ("None", "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
    parser.add_argument("--policy", choices=policies, default="None", help="with mode SignAndEncrypt (default None)")
    parser.add_argument("--certificate", type=Path, help="the server's own")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--trusted", type=Path, help="the gateway's certificate; others are not let in")
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=Path)


def run(options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    security = None
    if options.policy != "None":
        if options.certificate is None or options.key is None:
            raise EdgeError(f"--policy {options.policy} needs the server's --certificate and --key")
        password = options.password_file.read_text(encoding="utf-8").rstrip("\r\n") if options.password_file else ""
        security = ServerSecurity(
            options.policy, options.certificate, options.key, options.trusted, options.user, password
        )
    run_until_interrupted(_serve(options, security))


async def _serve(options: argparse.Namespace, security: ServerSecurity | None) -> None:
    sides = []
    for text in options.waveform:
        channel, _, axes = text.partition(":")
        if axes and not axes.isdecimal():
            raise EdgeError(f"--waveform {text}: expected CHANNEL:AXES, like vibration_waveform:3")
        sides.append(Side(channel, options.file.with_suffix(f".{channel}.parquet"), int(axes or 1)))
    recording = open_recording(options, sides)
    simulator = OpcuaSimulator(recording, options.host, options.port, options.writable, sides, security)
    await simulator.start()
    try:
        print(simulator.toml(), flush=True)
        await play_and_stay(recording, options, simulator.show)
    finally:
        await simulator.stop()


class OpcuaSimulator:
    """`port` 0 becomes the one that was found free."""

    def __init__(
        self,
        recording: Recording,
        host: str,
        port: int,
        writable: Sequence[str] = (),
        sides: Sequence[Side] = (),
        security: ServerSecurity | None = None,
    ) -> None:
        require_asyncua()
        unknown = [channel for channel in writable if channel not in recording.channels]
        if unknown:
            raise EdgeError(
                f"--writable {unknown[0]}: {recording.path} has no such channel, only {', '.join(recording.channels)}"
            )
        self.host, self.port = host, port
        self._assets = recording.assets
        self._channels = (*recording.channels, *recording.extras)
        self._writable = set(writable)
        self._sides = {side.channel: side for side in sides}
        self._security = security
        self._played: dict[str, float] = {}  # what stands in the writable nodes if nobody wrote
        self._server: Any = None

    @property
    def url(self) -> str:
        return f"opc.tcp://{self.host}:{self.port}"

    async def start(self) -> None:
        require_port(self.host, self.port)
        ua, security = load_ua(), self._security
        user = security.user if security else None
        self._server = server = load_server()(
            user_manager=load_users()(user, security.password) if security and user else None
        )
        await server.init()
        server.set_server_name("Overhaul simulator")
        await server.set_application_uri(URI)
        server.set_endpoint(self.url)
        if security is None:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            server.set_security_policy([getattr(ua.SecurityPolicyType, f"{security.policy}_SignAndEncrypt")])
            certificate, key = security.certificate.read_bytes(), security.key.read_bytes()
            try:
                load_certificates(certificate, "--certificate")
                check_key(key, "--key")
            except OpcuaError as error:
                raise EdgeError(str(error)) from error
            await server.load_certificate(certificate, form(certificate))
            await server.load_private_key(key, format=form(key))
            if security.trusted is not None:
                server.set_certificate_validator(load_only()(security.trusted.read_bytes()))
        server.set_identity_tokens([ua.UserNameIdentityToken if user else ua.AnonymousIdentityToken])
        await self._add_nodes(await server.register_namespace(NAMESPACE))
        await server.start()
        if not self.port:
            self.port = server.bserver._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await self._server.stop()

    async def show(self, item: Row | Block) -> None:
        ua = load_ua()
        if isinstance(item, Block):
            flat = item.samples.T.reshape(-1).tolist()
            await self._write(f"{item.asset}.{item.channel}", ua.Variant(flat, ua.VariantType.Float), item.time)
            return
        values = {"event": 0.0} | item.values if "event" in self._channels else item.values
        for channel, value in values.items():
            if channel in self._channels and await self._is_ours(item.asset, channel):
                name = f"{item.asset}.{channel}"
                await self._write(name, ua.Variant(value, ua.VariantType.Float), item.time)
                self._played[name] = value

    def toml(self) -> str:
        """A [[source]] of gateway.toml that reads all of it."""
        lines = ["[[source]]", 'type = "opcua"', 'name = "simulated-opcua"', f"url = {quoted(self.url)}"]
        if self._security is None:
            lines += ['policy = "None"', *([] if is_loopback(self.host) else ["insecure = true"])]
        else:
            lines += [
                f"policy = {quoted(self._security.policy)}",
                'certificate = "gateway.der" # the gateway\'s own',
                'key = "gateway-key.pem"',
                f"server_certificate = {quoted(str(self._security.certificate.absolute()))}",
            ]
            if self._security.user:
                lines += [f"user = {quoted(self._security.user)}", 'password_file = "password"']
        lines.append("values = [")
        for asset in self._assets:
            for channel in self._channels:
                lines.append(f"  {{ {_mapping(asset, channel)}{', writable = true' * (channel in self._writable)} }},")
        lines.append("]")
        if self._sides:
            lines.append("waveforms = [")
            for asset in self._assets:
                lines += [f"  {{ {_mapping(asset, s.channel)}, axes = {s.axes} }}," for s in self._sides.values()]
            lines.append("]")
        return "\n".join(lines)

    async def _add_nodes(self, namespace: int) -> None:
        ua = load_ua()
        waiting = ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData)
        for asset in self._assets:
            folder = await self._server.nodes.objects.add_folder(ua.NodeId(asset, namespace), asset)
            for channel in (*self._channels, *self._sides):
                node_id = ua.NodeId(f"{asset}.{channel}", namespace)
                start = [0.0] if channel in self._sides else 0.0
                node = await folder.add_variable(node_id, channel, start, ua.VariantType.Float)
                await node.write_value(ua.DataValue(ua.Variant(start, ua.VariantType.Float), waiting))
                if channel in self._writable:
                    await node.set_writable()

    async def _is_ours(self, asset: str, channel: str) -> bool:
        """Whether nobody has written this node since it was played last: else the machine obeys."""
        if channel not in self._writable:
            return True
        name, ua = f"{asset}.{channel}", load_ua()
        there = await self._server.get_node(ua.NodeId(name, 2)).read_data_value(raise_on_bad_status=False)
        waits = there.StatusCode is not None and there.StatusCode.is_bad()
        return waits or bool(there.Value.Value == self._played.get(name))

    async def _write(self, name: str, variant: Any, time: int) -> None:
        ua = load_ua()
        when = _EPOCH + datetime.timedelta(microseconds=time // 1000)
        data = ua.DataValue(variant, ua.StatusCode(ua.StatusCodes.Good), SourceTimestamp=when)
        await self._server.write_attribute_value(ua.NodeId(name, 2), data)


def _mapping(asset: str, channel: str) -> str:
    node = quoted(f"ns=2;s={asset}.{channel}")
    return f"node = {node}, asset = {quoted(asset)}, channel = {quoted(channel)}"
