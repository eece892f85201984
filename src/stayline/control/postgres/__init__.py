"""One PostgreSQL node of a site: made, started, watched, promoted, demoted and made to follow again."""

from stayline.control.postgres.config import NodeTls, Passwords, PostgresConfig, Upstream
from stayline.control.postgres.external import ExternalDatabase
from stayline.control.postgres.keeper import ReplicationKeeper
from stayline.control.postgres.node import PostgresNode

__all__ = [
    "ExternalDatabase",
    "NodeTls",
    "Passwords",
    "PostgresConfig",
    "PostgresNode",
    "ReplicationKeeper",
    "Upstream",
]
