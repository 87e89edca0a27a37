"""``modelreg doctor``: what modelreg finds on this machine, and what is wrong with it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import click

from modelreg._version import __version__
from modelreg.cli.connect import open_registry, registry_option
from modelreg.cli.output import Command, Output
from modelreg.config import CertificateSettings, RegistrySettings
from modelreg.exceptions import AccessDenied, ModelRegError, ObjectNotFound, StorageUnreachable, TransferStalled
from modelreg.redact import redact_url

Status = Literal["ok", "note", "failed"]

# A requirement in the package's metadata: its name, and the extra that asks for it.
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"](?P<extra>[^'\"]+)['\"])?")
_COLOURS = {"ok": "green", "note": "yellow", "failed": "red"}
# What to do about a storage's error that does not say it itself.
_ADVICE = {
    AccessDenied: "check the credentials, and that they may list and read there",
    ObjectNotFound: "check the path; names are case-sensitive",
    StorageUnreachable: "check the endpoint, the network and the proxies below",
    TransferStalled: "check the network and the proxies below",
}
_LITTLE_SPACE = 1 << 30


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        status: ``ok``, ``note`` for what may be meant so, or ``failed``.
        detail: What was found.
        next_step: What to do about it.
    """

    check: str
    status: Status
    detail: str
    next_step: str = ""


@click.command(cls=Command)
@click.argument("uri", required=False)
@registry_option
@click.pass_context
def doctor(ctx: click.Context, *, uri: str | None, registry_url: str | None) -> None:
    """Look at this machine's set-up, or at what it takes to read URI, and say what is wrong.

    The exit code is 1 if something is.
    """
    output: Output = ctx.obj
    settings = RegistrySettings.from_env()
    findings = list(_findings(settings, registry_url) if uri is None else _storage(uri))
    if output.as_json:
        output.table(findings, Finding._fields)
    else:
        _print(findings)
    if any(finding.status == "failed" for finding in findings):
        ctx.exit(1)


def _print(findings: list[Finding]) -> None:
    """Write a line for each finding, and below it what to do; a table would fold the long ones."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        status = click.style(f"{finding.status:<6}", fg=_COLOURS[finding.status])
        click.echo(f"{status}  {finding.check:<{width}}  {finding.detail}")
        if finding.next_step:
            click.echo(f"{'':<8}{'':<{width}}  -> {finding.next_step}")


def _findings(settings: RegistrySettings, registry_url: str | None) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}, {sys.executable}")
    yield Finding("modelreg", "ok", __version__)
    yield from _packages()
    yield _registry(registry_url)
    yield _token(settings)
    yield from _certificates(CertificateSettings.from_env())
    yield from _proxies()
    yield _folder("data folder", settings.data_folder)
    yield _cache_folder()


def _packages() -> Iterator[Finding]:
    """Yield what is installed of what modelreg requires, and of what its extras do."""
    for line in metadata.requires("modelreg") or ():
        requirement = _REQUIREMENT.match(line)
        # "all" names again what the other extras do.
        if requirement is not None and requirement["extra"] != "all":
            yield _package(requirement["name"], requirement["extra"])


def _package(name: str, extra: str | None) -> Finding:
    check = name if extra is None else f"{name} [{extra}]"
    try:
        return Finding(check, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        if extra is None:
            return Finding(check, "failed", "not installed", f"pip install {name}")
        return Finding(check, "note", "not installed", f"pip install 'modelreg[{extra}]', if you need it")


def _registry(url: str | None) -> Finding:
    try:
        with open_registry(url) as registry:
            start = time.perf_counter()
            kind = registry.api.server_capabilities().name
            milliseconds = (time.perf_counter() - start) * 1000
            return Finding("registry", "ok", f"{registry.url} is {kind} and answered in {milliseconds:.0f} ms")
    except ModelRegError as error:
        return Finding(
            "registry", "failed", error.message, error.next_step or "check --registry, MODELREG_REGISTRY_URL"
        )


def _token(settings: RegistrySettings) -> Finding:
    from modelreg.http.auth import SERVICE_ACCOUNT_TOKEN

    if settings.token_path is not None:
        return _readable("token", "KF_PIPELINES_SA_TOKEN_PATH", settings.token_path)
    if SERVICE_ACCOUNT_TOKEN.is_file():
        return Finding("token", "ok", f"{SERVICE_ACCOUNT_TOKEN} (the pod's service account)")
    return Finding("token", "note", "none; a server that wants one refuses", "set KF_PIPELINES_SA_TOKEN_PATH")


def _certificates(settings: CertificateSettings) -> Iterator[Finding]:
    if not settings.bundles:
        yield Finding("certificates", "ok", "the authorities of the certifi package")
    for variable, path in settings.bundles.items():
        yield _readable("certificates", variable, path)


def _readable(check: str, variable: str, path: str) -> Finding:
    if os.access(path, os.R_OK):
        return Finding(check, "ok", f"{path} ({variable})")
    return Finding(check, "failed", f"{path} ({variable}) cannot be read", f"correct {variable}, or unset it")


def _proxies() -> Iterator[Finding]:
    proxies = urllib.request.getproxies()
    if not proxies:
        yield Finding("proxies", "ok", "none")
    for scheme, address in sorted(proxies.items()):
        yield Finding("proxies", "ok", f"{scheme}: {redact_url(address) if '://' in address else address}")


def _cache_folder() -> Finding:
    from modelreg.cacheconfig import CacheSettings, cache_root

    try:
        return _folder("cache folder", Path(cache_root(CacheSettings.from_env())))
    except ModelRegError as error:
        return Finding("cache folder", "failed", error.message, error.next_step)


def _storage(uri: str) -> Iterator[Finding]:
    """Yield what comes of each step on the way to the bytes behind ``uri``; a step that fails is the last."""
    from modelreg.storage import open_backend, parse_uri

    step = "address"
    try:
        parsed = parse_uri(uri)
        yield Finding(step, "ok", parsed.normalised)
        step = "settings"
        with open_backend(parsed) as backend:
            yield Finding(step, "ok", type(backend).__name__)
            step = "listing"
            tree = backend.snapshot()
            yield Finding(step, "ok", f"{len(tree.files)} files, {tree.size} bytes")
            step = "reading"
            first = min(tree.files, key=lambda file: file.size or 0)
            length = sum(len(chunk) for chunk in backend.stream(first, 0, first.size))
            yield Finding(step, "ok", f"{length} bytes of {first.path}")
    except ModelRegError as error:
        yield Finding(step, "failed", error.message, error.next_step or _advice(error))
    yield from _certificates(CertificateSettings.from_env())
    yield from _proxies()


def _advice(error: ModelRegError) -> str:
    return next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")


def _folder(check: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(check, "failed", f"{folder} cannot be written: {error.strerror}", "make it writable")
    detail = f"{folder} is writable, {free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        return Finding(check, "note", detail, "make room before you fetch large models")
    return Finding(check, "ok", detail)
