"""TLS 1.3 or nothing, keys that only their owner can read, and messages that say what to do."""

import socket
import ssl
import threading

import pytest

from edge_runtime.errors import ConfigError
from edge_runtime.tls import Tls, check_private, read_secret
from tests.edge_runtime.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def files(authority):
    return Tls(authority.ca, *authority.issue("gw-1"))


@pytest.fixture
def serve(authority):
    """Starts a server for one handshake; gives its port, and what became of it in a list."""
    threads = []

    def start(maximum=ssl.TLSVersion.TLSv1_3, need_certificate=True):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("localhost"))
        context.maximum_version = maximum
        if need_certificate:
            context.load_verify_locations(authority.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        listener, result = socket.create_server(("127.0.0.1", 0)), []

        def handshake():
            with listener, listener.accept()[0] as plain:
                try:
                    with context.wrap_socket(plain, server_side=True) as sock:
                        result.append((sock.version(), sock.getpeercert()["subject"][0][0][1]))
                        sock.sendall(b"hello")
                except (ssl.SSLError, ConnectionError) as error:
                    result.append(error)

        threads.append(threading.Thread(target=handshake))
        threads[-1].start()
        return listener.getsockname()[1], result

    yield start
    for thread in threads:
        thread.join(20)


def connect(tls, port, host="localhost"):
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        tls.context().wrap_socket(plain, server_hostname=host) as sock,
    ):
        return sock.recv(10)


def test_both_sides_know_each_other_in_tls_1_3(files, serve):
    port, result = serve()
    assert connect(files, port) == b"hello"
    assert result == [("TLSv1.3", "gw-1")]


def test_an_older_tls_is_refused(files, serve):
    port, _ = serve(maximum=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version"):
        connect(files, port)


def test_another_host_name_is_refused(files, serve):
    port, _ = serve()
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(files, port, host="centre.example")


def test_an_unknown_authority_is_refused(files, serve, tmp_path):
    stranger = Authority(tmp_path)
    for ca in (stranger.ca, None):  # None: those that the computer trusts
        port, _ = serve()
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(Tls(ca, files.certificate, files.key), port)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_read_is_refused(authority, mode):
    certificate, key = authority.issue("open")
    key.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {key}"):
        Tls(authority.ca, certificate, key).context()


def test_one_without_the_other():
    with pytest.raises(ValueError, match="certificate is given without key"):
        Tls(certificate="gw.pem")
    with pytest.raises(ValueError, match="key is given without certificate"):
        Tls(key="gw.key")


def test_files_that_cannot_be_used_are_named(files, authority, tmp_path):
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("no PEM")
    nonsense.chmod(0o600)
    missing = tmp_path / "missing"
    other_certificate, _ = authority.issue("other")
    for tls, said in [
        (Tls(missing), f"ca {missing} cannot be read"),
        (Tls(nonsense), "holds no certificate in PEM"),
        (Tls(authority.ca, files.certificate, missing), f"{missing} cannot be read"),
        (Tls(authority.ca, missing, files.key), "cannot be read"),
        (Tls(authority.ca, files.certificate, nonsense), "expected PEM files"),
        (Tls(authority.ca, other_certificate, files.key), "do not belong together"),
    ]:
        with pytest.raises(ConfigError, match=said):
            tls.context()


def test_an_encrypted_key_does_not_wait_for_somebody_at_a_terminal(files, authority, tmp_path):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    secret = tmp_path / "encrypted.key"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    secret.chmod(0o600)
    with pytest.raises(ConfigError, match="the key unencrypted"):
        Tls(authority.ca, files.certificate, secret).context()


def test_secrets_in_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("word\nremark\n")
    secret.chmod(0o400)
    assert read_secret(secret) == "word"
    secret.chmod(0o600)
    check_private(secret)
    for content, said in [(b"", "is empty"), (b"\nword", "is empty"), (b"\xff", "cannot be read")]:
        secret.write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            read_secret(secret)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "none")
