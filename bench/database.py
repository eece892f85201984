"""A PostgreSQL of its own for a benchmark: durable (fsync on), empty, gone afterwards."""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from stayline.control.postgres import NodeTls, PostgresConfig, PostgresNode
from stayline.control.postgres.config import create_passwords
from stayline.link.authority import create_authority, issue

SITE = "Site_A"


@contextlib.asynccontextmanager
async def running_postgres() -> AsyncIterator[PostgresNode]:
    """A migrated primary of epoch 1."""
    folder = Path(tempfile.mkdtemp(prefix="stayline-bench-"))
    create_authority(folder / "authority")
    tls = issue(folder / "authority", "DB_A", "Database", ["127.0.0.1"], into=folder / "certificates")
    assert tls.cert is not None
    assert tls.key is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = PostgresNode(
        PostgresConfig(
            site=SITE,
            directory=folder / "database",
            host="127.0.0.1",
            port=port,
            peer_site="Site_B",
            peer_names=("DB_B",),
            tls=NodeTls(tls.ca, tls.cert, tls.key),
            passwords=create_passwords(folder / "passwords.json"),
            log_dir=folder / "log",
        )
    )
    try:
        await node.init_primary()
        await node.establish("benchmark", "bench")
        yield node
    finally:
        await node.stop("immediate")
        for path in (node.location.root, node.location.run, folder):
            shutil.rmtree(path, ignore_errors=True)
