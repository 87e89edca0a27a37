"""Settings, frozen; each class reads its own environment variables in ``from_env()``, and nothing else reads any.

Empty variables count as absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs


def _text(env: Mapping[str, str], *names: str) -> str | None:
    """Return the first of the variables ``names`` that is set and not empty."""
    return next((env[name] for name in names if env.get(name)), None)


@attrs.frozen(kw_only=True)
class RegistrySettings:
    """Where the registry is.

    Attributes:
        url: ``http(s)://`` address or ``sqlite:///path``; ``None`` means the embedded default.
        data_dir: Folder of the embedded registry's database and of the tracking journals; ``None`` means the
            platform's folder for user data.
        token_path: File that holds a bearer token (``KF_PIPELINES_SA_TOKEN_PATH``).
    """

    url: str | None = None
    data_dir: str | None = None
    token_path: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> RegistrySettings:
        """Return the settings that the environment names."""
        return cls(
            url=_text(env, "MODELREG_REGISTRY_URL"),
            data_dir=_text(env, "MODELREG_DATA_DIR"),
            token_path=_text(env, "KF_PIPELINES_SA_TOKEN_PATH"),
        )

    @property
    def data_folder(self) -> Path:
        """The folder of what modelreg keeps on this machine; it may not exist yet."""
        if self.data_dir is not None:
            return Path(self.data_dir).expanduser().absolute()
        from platformdirs import user_data_path

        return user_data_path("modelreg", appauthor=False)

    @property
    def database(self) -> Path:
        """The embedded registry's database; it may not exist yet."""
        return self.data_folder / "registry.db"


@attrs.frozen(kw_only=True)
class S3LocationSettings:
    """Where S3 URIs point that are built from a path alone.

    Attributes:
        bucket: The bucket (``AWS_S3_BUCKET``).
        endpoint: The storage's address (``AWS_S3_ENDPOINT``).
        region: The region (``AWS_DEFAULT_REGION``).
    """

    bucket: str | None = None
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> S3LocationSettings:
        """Return the settings that the environment names."""
        return cls(
            bucket=_text(env, "AWS_S3_BUCKET"),
            endpoint=_text(env, "AWS_S3_ENDPOINT"),
            region=_text(env, "AWS_DEFAULT_REGION"),
        )


@attrs.frozen(kw_only=True)
class CertificateSettings:
    """Which certificate authorities the environment says to trust.

    Attributes:
        bundles: Path of a file of certificates, by the variable that names it.
    """

    bundles: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> CertificateSettings:
        """Return the settings that the environment names."""
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")
        return cls(bundles={name: env[name] for name in names if env.get(name)})
