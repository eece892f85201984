"""A host's own PostgreSQL, made from its plan."""

from pathlib import Path

from stayline.control.host.plan import HostPlan
from stayline.control.postgres.config import NodeTls, PostgresConfig, create_passwords
from stayline.control.postgres.node import PostgresNode


def make_node(plan: HostPlan, folder: Path) -> PostgresNode:
    """The node of a host, not started. Raises RefusedError when PostgreSQL cannot run here."""
    certificates = folder / "certificates"
    tls = NodeTls(
        certificates / "ca.pem", certificates / f"{plan.host}.pem", certificates / f"{plan.host}.key"
    )
    return PostgresNode(
        PostgresConfig(
            site=plan.site,
            directory=folder / "database",
            host=plan.address,
            port=plan.database_port,
            peer_site=plan.peer.site if plan.peer else plan.site,
            peer_names=(plan.peer.host,) if plan.peer else (),
            tls=tls,
            passwords=create_passwords(Path(plan.passwords)),
            log_dir=folder / "log",
            bin_dir=Path(plan.bin_dir) if plan.bin_dir else None,
            durable_setup=plan.durable_setup,
        )
    )
