"""What a server needs to speak TLS, and to ask clients for a certificate."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from modelreg.exceptions import InvalidInput


def _path(value: str | os.PathLike[str]) -> Path:
    return Path(value).absolute()


def _optional_path(value: str | os.PathLike[str] | None) -> Path | None:
    return None if value is None else _path(value)


@attrs.frozen
class TLSSettings:
    """The certificate of a server, and whose certificates it asks its clients for.

    Args:
        certfile: File with the certificate of the server and those between it and its authority, as PEM.
        keyfile: File with its private key, as PEM.
        client_ca: File with the authorities whose certificates clients must have, as PEM; ``None`` asks for none.
        key_password: Password of the private key, where it has one.

    Raises:
        InvalidInput: A file cannot be read, or holds something else, or the key is not the certificate's.
    """

    certfile: Path = attrs.field(converter=_path)
    keyfile: Path = attrs.field(converter=_path)
    client_ca: Path | None = attrs.field(default=None, converter=_optional_path)
    key_password: str | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.certfile, self.keyfile, self.key_password or "")
        except (OSError, ValueError) as error:
            pair = f"{self.certfile} and its key {self.keyfile}"
            raise InvalidInput(f"the certificate {pair} cannot be used: {error}") from error
        if self.client_ca is None:
            return
        try:
            context.load_verify_locations(self.client_ca)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"the authorities in {self.client_ca} cannot be used: {error}") from error


@contextmanager
def copied(tls: TLSSettings) -> Iterator[TLSSettings]:
    """Give the same settings with files that are checked and that nobody changes, while the context lasts.

    A server that reads files later than they are checked may read others than those.

    Args:
        tls: The settings.

    Raises:
        InvalidInput: A file cannot be read, or holds something else, or the key is not the certificate's.
    """
    with ExitStack() as copies:
        certfile, keyfile = _copy(tls.certfile, copies), _copy(tls.keyfile, copies)
        client_ca = None if tls.client_ca is None else _copy(tls.client_ca, copies)
        yield attrs.evolve(tls, certfile=certfile, keyfile=keyfile, client_ca=client_ca)


def _copy(path: Path, copies: ExitStack) -> Path:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the certificate cannot be read: {error}") from error
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        # Containers may have no file system that can be written to.
        descriptor = os.memfd_create("modelreg-tls")
        copies.callback(os.close, descriptor)
        copy = Path(f"/proc/self/fd/{descriptor}")
    else:
        copy = Path(copies.enter_context(TemporaryDirectory(prefix="modelreg-tls-"))) / "copy.pem"
    copy.write_bytes(content)
    return copy
