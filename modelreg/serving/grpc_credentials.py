"""What a server over gRPC speaks TLS with; the files are looked at for each connection, as they may have changed."""

from __future__ import annotations

from typing import Any

from modelreg.exceptions import InvalidInput, MissingExtra
from modelreg.serving.renewal import CertificateFiles
from modelreg.serving.tls import TLSSettings

try:
    import grpc
except ImportError as error:
    raise MissingExtra("gRPC needs grpcio", next_step="pip install 'modelreg[serve]'") from error


def server_credentials(tls: TLSSettings) -> Any:
    """Return gRPC's credentials of a server; connections that begin after the files have changed get the new ones.

    Args:
        tls: The files.

    Raises:
        InvalidInput: A file cannot be read.
        MissingExtra: The private key has a password, and cryptography is not installed.
    """
    files = CertificateFiles(tls)

    def changed() -> Any:
        # None: go on with those of the connection before; so does gRPC where this raises.
        return _certificates(tls) if files.renewed() else None

    return grpc.dynamic_ssl_server_credentials(
        _certificates(tls), changed, require_client_authentication=tls.client_ca is not None
    )


def _certificates(tls: TLSSettings) -> Any:
    try:
        key, certificate = tls.keyfile.read_bytes(), tls.certfile.read_bytes()
        authorities = None if tls.client_ca is None else tls.client_ca.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the certificate cannot be read: {error}") from error
    if tls.key_password is not None:
        key = _without_password(key, tls.key_password)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)


def _without_password(key: bytes, password: str) -> bytes:
    """A private key without the password that it is under, which gRPC does not take."""
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtra(
            "a private key with a password needs cryptography for gRPC", next_step="pip install cryptography"
        ) from error
    return serialization.load_pem_private_key(key, password.encode()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
