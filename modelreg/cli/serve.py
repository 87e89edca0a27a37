"""``modelreg serve``: models from folders, URIs, the registry or a program, behind the Open Inference Protocol."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.cli.output import Command, Output
from modelreg.exceptions import MissingExtra

if TYPE_CHECKING:
    from modelreg.serving import BatchSettings, KeepAlive, ModelRepository
    from modelreg.serving.sources import Sources
    from modelreg.serving.transformer import PredictorConfig
    from modelreg.storage.uri import StorageURI

_PORT = click.IntRange(0, 65535)
_AT_LEAST_ONE = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# Flags of KServe's server that mean nothing here; they are taken, so that its manifests need no change.
_KSERVE_ONLY = (
    *("--access-log-format", "--configure-logging", "--enable-docs-url", "--enable-latency-logging", "--event-loop"),
    *("--grpc-max-send-message-length", "--max-asyncio-workers", "--nthread", "--protocol"),
)


def _dashed(flag: str) -> str:
    """KServe's names of flags, with underscores, are the same with dashes."""
    return flag.replace("_", "-")


def _kserve_only(command: Any) -> Any:
    for flag in _KSERVE_ONLY:
        command = click.option(flag, hidden=True, expose_value=False, help="Taken for KServe's sake.")(command)
    return command


@click.command(cls=Command, context_settings={"token_normalize_func": _dashed})
@click.argument("sources", metavar="[NAME=]SOURCE...", nargs=-1)
@click.option("--name", "--model-name", help="Name of the model, where there is one source.")
@click.option("--model-dir", help="A source, as KServe names it.")
@click.option(
    "--format",
    "declared",
    type=click.Choice(["lightgbm", "onnx", "python", "sklearn", "xgboost"]),
    help="Format of the files, where they do not tell.",
)
@click.option("--trust-pickle", is_flag=True, help="Load pickles and joblib files, which can run any code.")
@click.option("--trust-code", is_flag=True, help="Run a model.py that comes with a model.")
@click.option("--trust-type", "trusted_types", multiple=True, metavar="TYPE", help="Load this type from skops files.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - served from containers
@click.option("--http-port", type=_PORT, help="Port for REST, 0 for any that is free.  [default: 8080; 8443 with TLS]")
@click.option("--grpc-port", type=_PORT, default=8081, show_default=True, help="Port for gRPC, 0 for any that is free.")
@click.option(
    "--enable-grpc", type=bool, default=True, show_default=True, metavar="BOOL", help="Whether to speak gRPC."
)
@click.option("--workers", type=_AT_LEAST_ONE, default=1, show_default=True, help="Server processes.")
@click.option(
    "--start-method",
    type=click.Choice(["fork", "spawn"]),
    help="How server processes begin, where there are several.  [default: fork on Linux, spawn elsewhere]",
)
@click.option("--max-threads", type=_AT_LEAST_ONE, default=4, show_default=True, help="Calls over gRPC at once.")
@click.option(
    "--max-concurrency",
    type=_AT_LEAST_ONE,
    default=32,
    show_default=True,
    help="Requests that run at once in a process.",
)
@click.option(
    "--max-queue", type=click.IntRange(min=0), default=96, show_default=True, help="Requests that may wait for a turn."
)
@click.option("--deadline", "deadline_s", type=_SECONDS, metavar="SECONDS", help="Answer 504 after so long.")
@click.option("--batch", "batch_rows", type=_AT_LEAST_ONE, metavar="ROWS", help="Predict up to so many rows at once.")
@click.option(
    "--batch-latency",
    "batch_latency_ms",
    type=_SECONDS,
    default=5.0,
    show_default=True,
    metavar="MS",
    help="How long a request waits for others.",
)
@click.option("--max-body-bytes", type=_AT_LEAST_ONE, help="Answer 413 to larger bodies.  [default: the server's]")
@click.option(
    "--grpc-max-receive-message-length",
    "max_message_bytes",
    type=_AT_LEAST_ONE,
    help="The same for messages over gRPC.  [default: as --max-body-bytes]",
)
@click.option(
    "--grpc-max-connection-age",
    "grpc_max_age_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Have clients over gRPC connect anew after so long, so that load is spread.",
)
@click.option("--enable-repository-api", is_flag=True, help="Let clients load and unload models.")
@click.option("--access-log", is_flag=True, help="Write a line of JSON for each request to stderr.")
@click.option("--log-config-file", type=_FILE, help="How to log: JSON, YAML or the ini format of Python's logging.")
@click.option("--ssl-certfile", type=_FILE, help="Certificate of the server, as PEM.")
@click.option("--ssl-keyfile", type=_FILE, help="Its private key, as PEM.")
@click.option("--ssl-client-ca", type=_FILE, help="Authorities whose certificates clients must have, as PEM.")
@click.option(
    "--timeout-keep-alive", type=_SECONDS, default=65.0, show_default=True, help="Seconds of an idle connection."
)
@click.option(
    "--grace-period",
    type=_SECONDS,
    default=30.0,
    show_default=True,
    help="Seconds that requests have to end at a stop.",
)
@click.option(
    "--drain-delay",
    "drain_delay_s",
    type=_SECONDS,
    default=0.0,
    show_default=True,
    help="Seconds to answer on, not ready, before a stop.",
)
@click.option("--predictor-host", help="HOST[:PORT] of the predictor of a transformer.")
@click.option(
    "--predictor-protocol",
    type=click.Choice(["v1", "v2", "grpc-v2"]),
    default="v1",
    show_default=True,
    help="How it is asked.",
)
@click.option("--predictor-use-ssl", type=bool, default=False, metavar="BOOL", help="Whether it speaks TLS.")
@click.option(
    "--predictor-request-timeout-seconds", type=_SECONDS, default=600.0, show_default=True, help="How long it may take."
)
@click.option(
    "--predictor-request-retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often to try again.",
)
@click.option("--enable-predictor-health-check", is_flag=True, help="Be ready only while the predictor is.")
@_kserve_only
@click.pass_obj
def serve(output: Output, /, *, sources: tuple[str, ...], **options: Any) -> None:
    """Serve models over REST and gRPC until SIGTERM or Ctrl-C.

    A SOURCE is a folder with a model, with its versions, or with several models; a file; a URI that 'modelreg fetch'
    takes, model-registry:// among them; or module:Class, a subclass of modelreg.serving.Model. Options may be written
    with underscores, as KServe's are.

    \b
    Examples:
      modelreg serve model-registry://fraud/1.0.0
      modelreg serve models/ --enable-repository-api
      modelreg serve fraud=s3://models/fraud/1.0.0 iris=iris.skops
      modelreg serve my_model:MyModel --name fraud --workers 2
    """  # noqa: D301 - click wants the character
    set_up_logging = partial(_set_up_logging, options["log_config_file"], access_log=options["access_log"])
    set_up_logging()
    try:
        from modelreg.serving import ModelRepository, ModelServer
        from modelreg.serving.stopping import leave
    except MissingExtra:
        raise
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed", next_step="pip install 'modelreg[serve]'") from error

    opened = _sources(sources, options)
    models = opened.models()
    repository = ModelRepository(opened.folder, loader=opened.load)
    server = ModelServer(**_server_options(options, repository), worker_initializer=set_up_logging)
    for model in models:
        of_version = f" {model.version}" if model.version is not None else ""
        output.note(f"serving {model.name}{of_version} ({model.platform or type(model).__name__})")
    if not server.start(models, listening=lambda *ports: output.note(_addresses(server.host, *ports))):
        leave()


def _sources(texts: tuple[str, ...], options: dict[str, Any]) -> Sources:
    from modelreg.serving.runtimes.trust import Trust
    from modelreg.serving.sources import Source, Sources

    given = [*texts, *([options["model_dir"]] if options["model_dir"] else [])]
    parsed = [Source.parse(text) for text in given]
    if options["name"]:
        if len(parsed) != 1:
            raise click.UsageError("--name is for one source; give each of several a name as NAME=SOURCE")
        parsed = [Source(parsed[0].text, options["name"])]
    # A class of the program's own is looked for where the command was started, as Python's -m does.
    if "" not in sys.path:
        sys.path.insert(0, "")
    trust = Trust(pickle=options["trust_pickle"], code=options["trust_code"], types=options["trusted_types"])
    return Sources(parsed, fetch=_fetch, describe=_describe, trust=trust, declared=options["declared"])


def _fetch(uri: str) -> Path:
    from modelreg.fetching import fetch

    return fetch(uri, unpack=True)


def _describe(uri: StorageURI) -> Any:
    from modelreg.fetching.resolving import describe

    return describe(uri)


def _server_options(options: dict[str, Any], repository: ModelRepository) -> dict[str, Any]:
    """Return the arguments of the server: what goes by the same name, and what does not."""
    same = (
        *("host", "http_port", "grpc_port", "enable_grpc", "workers", "max_threads", "max_concurrency", "max_queue"),
        *("deadline_s", "enable_repository_api", "access_log", "ssl_certfile", "ssl_keyfile", "ssl_client_ca"),
        *("timeout_keep_alive", "grace_period", "drain_delay_s", "max_message_bytes", "start_method"),
    )
    arguments = {name: options[name] for name in same}
    if options["max_body_bytes"] is not None:
        arguments["max_body_bytes"] = options["max_body_bytes"]
    return {
        **arguments,
        "registered_models": repository,
        "batching": _batching(options),
        "predictor_config": _predictor(options),
        "grpc_keep_alive": _keep_alive(options),
    }


def _batching(options: dict[str, Any]) -> BatchSettings | None:
    from modelreg.serving import BatchSettings

    rows = options["batch_rows"]
    return None if rows is None else BatchSettings(max_batch_size=rows, max_latency_ms=options["batch_latency_ms"])


def _keep_alive(options: dict[str, Any]) -> KeepAlive | None:
    from modelreg.serving import KeepAlive

    age_s = options["grpc_max_age_s"]
    return None if age_s is None else KeepAlive(max_age_s=age_s)


def _predictor(options: dict[str, Any]) -> PredictorConfig | None:
    if not options["predictor_host"]:
        return None
    from modelreg.serving.transformer import PredictorConfig

    return PredictorConfig(
        options["predictor_host"],
        options["predictor_protocol"],
        options["predictor_use_ssl"],
        options["predictor_request_timeout_seconds"],
        options["predictor_request_retries"],
        options["enable_predictor_health_check"],
    )


def _addresses(host: str, http_port: int, grpc_port: int | None) -> str:
    over_grpc = "" if grpc_port is None else f", over gRPC on {host}:{grpc_port}"
    return f"answering over REST on {host}:{http_port}{over_grpc}; stop it with Ctrl-C"


def _set_up_logging(config: Path | None, *, access_log: bool) -> None:
    """Let the server's log be seen on stderr: what went wrong, and each request where that is asked for."""
    from modelreg.config import ServingSettings
    from modelreg.serving.logging import configure_logging

    if config is not None:
        configure_logging(config)
    else:
        level = ServingSettings.from_env().log_level or "WARNING"
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=level)
    if access_log:
        logging.getLogger("modelreg.serving.access_log").setLevel(logging.INFO)
