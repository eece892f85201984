"""A link to a primary/backup pair, or to preferred and peer servers: the machines and the shell of it."""

from stayline.link.lone_link import LoneLink
from stayline.link.plan import PairPlan
from stayline.link.pool import Assignment, Node, Order, Pool


class PairedLink(LoneLink):
    """As :class:`~stayline.link.lone_link.LoneLink`, for servers that are no pool."""

    def plan(self, plan: PairPlan) -> None:
        """Use these servers from now on."""
        pool = Pool(
            cluster="",
            site="",
            nodes=plan.nodes,
            order=Order.LISTED,
            retry_delays=plan.retry_delays,
            reconnect_range=plan.reconnect_range,
            backup_delay=plan.backup_delay,
        )
        self.assign(Assignment(pool=pool, refusal="" if plan.nodes else "No server is known."))

    def others(self) -> list[Node]:
        """The servers that may be used now."""
        return [node for pool in self.view.assignment.pools for node in pool.nodes]
