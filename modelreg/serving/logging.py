"""How the log of a server is set up, where its program does not do it; the names are those of ``kserve.logging``."""

from __future__ import annotations

import configparser
import json
import logging
import logging.config
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelreg.config import ServingSettings
from modelreg.exceptions import InvalidInput, MissingExtra

__all__ = ["configure_logging", "logger", "trace_logger"]

#: What a program that serves may log to; the server's own loggers are below it.
logger = logging.getLogger("modelreg.serving")
#: The same, for what is to be told of each request.
trace_logger = logging.getLogger("modelreg.serving.trace")

_FORMAT = "%(asctime)s.%(msecs)03d %(process)s %(name)s %(levelname)s %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S"


def configure_logging(log_config: Mapping[str, Any] | str | Path | None = None) -> None:
    """Set up the log as a file or a dictionary says; else the server's, on stderr, unless that is set up already.

    Args:
        log_config: A dictionary of :func:`logging.config.dictConfig`, or the path of a file: such a dictionary as
            ``.json``, ``.yaml`` or ``.yml``, else what :func:`logging.config.fileConfig` reads. With ``None``, records
            of ``modelreg`` go to stderr from the level on that ``KSERVE_LOGLEVEL`` names, ``INFO`` by default.

    Raises:
        InvalidInput: The file cannot be read, or does not say how to log.
        MissingExtra: It is YAML, and PyYAML is not installed.
    """
    if log_config is None:
        _configure_own()
        return
    try:
        _configure(log_config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        named = "the dictionary" if isinstance(log_config, Mapping) else f"the file {log_config}"
        raise InvalidInput(f"{named} does not say how to log: {error}") from error


def _configure_own() -> None:
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME))
    own = logging.getLogger("modelreg")
    own.addHandler(handler)
    own.setLevel(ServingSettings.from_env().log_level or "INFO")


def _configure(log_config: Mapping[str, Any] | str | Path) -> None:
    if isinstance(log_config, Mapping):
        logging.config.dictConfig(dict(log_config))
    elif (path := Path(log_config)).suffix == ".json":
        logging.config.dictConfig(json.loads(path.read_text(encoding="utf-8")))
    elif path.suffix in {".yaml", ".yml"}:
        logging.config.dictConfig(_of_yaml(path.read_text(encoding="utf-8")))
    else:
        _configure_by_ini(path)


def _configure_by_ini(path: Path) -> None:
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False)
    except configparser.Error as error:
        # Before Python 3.12 it leaves as it is.
        raise ValueError(str(error)) from error


def _of_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("a log configuration in YAML needs PyYAML", next_step="pip install PyYAML") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Its errors are no ValueError.
        raise ValueError(str(error)) from error
