"""The command line of a program that serves its own model; the names are those of ``kserve.model_server``.

Nothing reads the command line but who asks for it::

    import argparse

    from modelreg.serving import Model, model_server

    parser = argparse.ArgumentParser(parents=[model_server.parser])
    args, _ = parser.parse_known_args()
    model_server.from_args(args).start([Model(args.model_name)])
"""

from __future__ import annotations

import argparse
from typing import Any

from modelreg.serving.server import ModelServer
from modelreg.serving.transformer import PredictorConfig

__all__ = ["ModelServer", "from_args", "parser"]

_TRUTH = {
    **dict.fromkeys(("y", "yes", "t", "true", "on", "1"), True),
    **dict.fromkeys(("n", "no", "f", "false", "off", "0"), False),
}
# Flags that name an argument of the server as that is named.
_SAME = (
    *("http_port", "grpc_port", "workers", "max_threads", "max_asyncio_workers", "enable_grpc", "enable_docs_url"),
    *("enable_latency_logging", "access_log_format", "event_loop", "timeout_keep_alive", "ssl_certfile", "ssl_keyfile"),
)


def from_args(args: argparse.Namespace | None = None, **arguments: Any) -> ModelServer:
    """Return the server that a command line asks for.

    Args:
        args: What :data:`parser`, or one that has it among its parents, has parsed; by default the program's own
            command line, of which flags that are not known are left to others.
        arguments: Further arguments of :class:`~modelreg.serving.ModelServer`, which win over the command line.

    Raises:
        InvalidInput: An argument is out of range, or a file of TLS cannot be used.

    Example:
        >>> from_args(parser.parse_args(["--http_port", "9000"]), workers=2).http_port
        9000
    """
    parsed = parser.parse_known_args()[0] if args is None else args
    of_line = {name: getattr(parsed, name) for name in _SAME}
    of_line["max_message_bytes"] = parsed.grpc_max_receive_message_length
    of_line["predictor_config"] = _predictor(parsed)
    return ModelServer(**{**of_line, **arguments})


def _predictor(args: argparse.Namespace) -> PredictorConfig | None:
    if not args.predictor_host:
        return None
    return PredictorConfig(
        args.predictor_host,
        args.predictor_protocol or args.protocol,
        args.predictor_use_ssl,
        args.predictor_request_timeout_seconds,
        args.predictor_request_retries,
        args.enable_predictor_health_check,
    )


def _truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from error


def _parser() -> argparse.ArgumentParser:
    # Without help: whoever has this among the parents of theirs adds it.
    parser = argparse.ArgumentParser(add_help=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    protocols = ["v1", "v2", "grpc-v2"]
    add = parser.add_argument
    add("--http_port", type=int, help="Port for REST; 8080, or 8443 with TLS, by default.")
    add("--grpc_port", type=int, default=8081, help="Port for gRPC.")
    add("--workers", type=int, default=1, help="Server processes.")
    add("--max_threads", type=int, default=4, help="Calls over gRPC at once.")
    add("--max_asyncio_workers", type=int, help="Taken for KServe's sake.")
    add("--enable_grpc", type=_truth, default=True, help="Whether to speak gRPC.")
    add("--enable_docs_url", type=_truth, default=True, help="Taken for KServe's sake.")
    add("--enable_latency_logging", type=_truth, default=True, help="Taken for KServe's sake.")
    add("--configure_logging", type=_truth, default=True, help="Whether the program is to set up the log.")
    add("--log_config_file", help="How to log: JSON, YAML or the ini format of Python's logging.")
    add("--access_log_format", help="Anything logs a line for each request.")
    add("--event-loop", "--event_loop", default="auto", help="Taken for KServe's sake.")
    add("--timeout-keep-alive", "--timeout_keep_alive", type=float, default=65, help="Seconds of an idle connection.")
    add("--model_name", default="model", help="Name of the model.")
    add("--predictor_host", help="HOST[:PORT] of the predictor of a transformer.")
    add("--protocol", choices=protocols, default="v1", help="Another name of --predictor_protocol, which wins.")
    add("--predictor_protocol", choices=protocols, help="How the predictor is asked.")
    add("--predictor_use_ssl", type=_truth, default=False, help="Whether the predictor speaks TLS.")
    add("--predictor_request_timeout_seconds", type=float, default=600, help="How long the predictor may take.")
    add("--predictor_request_retries", type=int, default=0, help="How often the predictor is asked again.")
    add("--enable_predictor_health_check", action="store_true", help="Be ready only while the predictor is.")
    add("--grpc_max_send_message_length", type=int, help="Taken for KServe's sake: answers have any length.")
    add("--grpc_max_receive_message_length", type=int, help="Bytes of a message over gRPC at most.")
    add("--ssl_certfile", help="Certificate of the server, as PEM; KSERVE_TLS_CERT_FILE by default.")
    add("--ssl_keyfile", help="Its private key, as PEM; KSERVE_TLS_KEY_FILE by default.")
    return parser


#: The flags of KServe's servers, to be among the ``parents`` of a program's own parser.
parser = _parser()
