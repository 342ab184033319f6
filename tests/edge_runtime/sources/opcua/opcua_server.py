"""asyncua's own server in a thread, and certificates for both sides."""

import asyncio
import datetime
import ipaddress
import threading

from asyncua import Server, ua
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.user_managers import User, UserManager, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from edge_runtime.sources.loop import LoopThread

SERVER_URI = "urn:test:server"


class OpcuaServer:
    """Nodes ns=2;s=<name>. `policies`: of asyncua's SecurityPolicyType, with `certificate` and `key` (paths).

    `trusted`: DER of the only client certificate that is let in. `users`: name → password, beside anonymous ones.
    """

    def __init__(self, port=0, policies=("NoSecurity",), certificate=None, key=None, trusted=None, users=None):
        self.port = port
        self.server = None
        self._policies, self._certificate, self._key = policies, certificate, key
        self._trusted, self._users = trusted, users
        self._loop = LoopThread("opcua server under test")
        self._ready = threading.Event()

    @property
    def url(self):
        return f"opc.tcp://127.0.0.1:{self.port}"

    def __enter__(self):
        self._ready.clear()
        self._loop.start(self._serve)
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        self._loop.stop(30)

    def call(self, function, *arguments, **options):
        return self._loop.call(function(*arguments, **options), 30)

    def add(self, name, value, writable=False, kind=None, unit=None, extent=None):
        self.call(self._add, name, value, writable, kind, unit, extent)

    def set(self, name, value, time=None, server_time=None, status=ua.StatusCodes.Good, kind=ua.VariantType.Double):
        """`time`: seconds since 1970 of the source, None = none."""
        data = ua.DataValue(
            ua.Variant(value, kind),
            ua.StatusCode(status),
            SourceTimestamp=when(time),
            ServerTimestamp=when(server_time),
        )
        self.call(self.server.write_attribute_value, ua.NodeId(name, 2), data)

    def get(self, name):
        return self.call(self.server.get_node(ua.NodeId(name, 2)).read_value)

    def drop_sessions(self):
        """As a server does that has been restarted inside, or that ran out of patience: sessions end, TCP stays."""

        async def drop():
            for client in list(self.server.bserver.clients):
                if client.processor.session is not None:
                    await client.processor.session.close_session(True)

        self.call(drop)

    async def _serve(self):
        if self.server is None:
            await self._make()
        self.server.set_endpoint(self.url)
        await self.server.start()
        if not self.port:
            self.port = self.server.bserver._server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.server.iserver.endpoints.clear()
            await self.server.stop()

    async def _make(self):
        self.server = Server(user_manager=_Users(self._users) if self._users else None)
        await self.server.init()
        await self.server.set_application_uri(SERVER_URI)
        self.server.set_security_policy([getattr(ua.SecurityPolicyType, name) for name in self._policies])
        if self._certificate:
            await self.server.load_certificate(self._certificate)
            await self.server.load_private_key(self._key)
        if self._trusted is not None:
            self.server.set_certificate_validator(_Only(self._trusted))
        await self.server.register_namespace("urn:test:nodes")
        self.folder = await self.server.nodes.objects.add_folder(2, "machines")

    async def _add(self, name, value, writable, kind, unit, extent):
        node = await self.folder.add_variable(ua.NodeId(name, 2), name, value, kind)
        if writable:
            await node.set_writable()
        if unit:
            units = ua.EUInformation(DisplayName=ua.LocalizedText(unit))
            await node.add_property(0, "EngineeringUnits", units)
        if extent:
            await node.add_property(0, "EURange", ua.Range(Low=extent[0], High=extent[1]))


class _Users(UserManager):
    def __init__(self, users):
        self.users = users

    def get_user(self, iserver, username=None, password=None, certificate=None):  # noqa: ARG002, asyncua's
        return User(role=UserRole.User) if username is None or self.users.get(username) == password else None


class _Only(CertificateValidator):
    def __init__(self, trusted):
        super().__init__(CertificateValidatorOptions.EXT_VALIDATION | CertificateValidatorOptions.PEER_CLIENT)
        self.trusted = trusted

    async def validate(self, cert, app_description):
        from asyncua.common.utils import ServiceError

        await super().validate(cert, app_description)
        if cert.public_bytes(serialization.Encoding.DER) != self.trusted:
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)


def when(seconds):
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def make_certificate(folder, name, uri, *, ca=None, host="127.0.0.1", start=-1, days=30, is_ca=False):
    """(certificate.der, key.pem) in `folder`; `ca` = such a pair that signs it, None = itself."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = subject, key
    if ca is not None:
        issuer = x509.load_der_x509_certificate(ca[0].read_bytes()).subject
        signer = serialization.load_pem_private_key(ca[1].read_bytes(), None)
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.UniformResourceIdentifier(uri), x509.IPAddress(ipaddress.ip_address(host))]
    usage = dict.fromkeys(
        ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign"], True
    ) | dict.fromkeys(["key_agreement", "crl_sign", "encipher_only", "decipher_only"], False)
    both = [x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=start))
        .not_valid_after(now + datetime.timedelta(days=start + days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=False)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .sign(signer, hashes.SHA256())
    )
    paths = folder / f"{name}.der", folder / f"{name}-key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    paths[1].chmod(0o600)
    return paths
