"""Logging of a server process: one line of JSON per decision, into a bounded file, without secrets."""

import logging
import logging.handlers
import os
from collections.abc import MutableMapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import structlog

MAX_BYTES = 10_000_000
"""Size at which a log file is put aside; :data:`KEPT` old ones are kept."""

KEPT = 3

SECRET_KEYS = frozenset({"password", "token", "ticket", "grant", "secret", "text", "draft", "payload"})
"""Values under these names are never written, should they ever be passed: secrets, and what customers wrote."""


class PrivateFile(logging.handlers.RotatingFileHandler):
    """A log file that its owner only may read: it names agents, sessions and reasons."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


def without_secrets(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blot out the values of :data:`SECRET_KEYS`."""
    for key in SECRET_KEYS & event.keys():
        event[key] = "(not logged)"
    return event


def start_logging(log_dir: str, name: str, level: str = "info") -> None:
    """Send structlog and the standard library's logging to ``log_dir/name.log``; to stderr without a ``log_dir``.

    Tracebacks come without local variables: those hold customers' words.
    """
    handler: logging.Handler = logging.StreamHandler()
    if log_dir:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        file = Path(log_dir) / f"{name}.log"
        handler = PrivateFile(file, maxBytes=MAX_BYTES, backupCount=KEPT)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_secrets,
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(application=name)
