"""Durable transitions per second: the Interaction Server's write path beside a pgbench script that writes the same
rows, one transaction each, on the same server in the same run."""

import asyncio
import re
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bench.database import SITE, running_postgres
from bench.results import Result, compare
from stayline.control.postgres import PostgresNode
from stayline.domain.errors import Refusal
from stayline.domain.interaction import Command, Event, Interaction, State
from stayline.domain.mastership import Term
from stayline.domain.ownership import step, submit
from stayline.servers.interaction.batch import execute
from stayline.store.election import Election
from stayline.store.interaction import Write, Written
from stayline.store.writer import GroupWriter

ROUNDS = 3
SECONDS = 4.0
INTERACTIONS = 512
CLIENTS = 32

SCRIPT = f"""\\set n random(1, {INTERACTIONS})
BEGIN;
UPDATE interaction SET version = version + 1, properties = '{{"x":"1"}}'::jsonb WHERE id = 'pg' || :n
  RETURNING version \\gset
INSERT INTO journal (interaction, version, event, from_state, to_state, agent, session, previous_agent,
  previous_session, queue, actor, key, why, epoch, term, at)
  VALUES ('pg' || :n, :version, 'change', 'queued', 'queued', '', '', '', '', 'q', 'bench', '', 'bench', 1, 1, 0);
COMMIT;
"""


def new(name: str) -> Interaction:
    """An interaction to be submitted."""
    return Interaction(
        id=name,
        tenant="Environment",
        media="chat",
        queue="chat.support",
        state=State.QUEUED,
        version=1,
        epoch=0,
        term=0,
    )


def command(term: Term, event: Event, **more: Any) -> Command:
    """A command of the present primary."""
    return Command(event=event, actor="bench", epoch=term.epoch, term=term.term, **more)


async def _ours(writer: GroupWriter[Write, Written], live: list[Interaction], term: Term) -> float:
    """Transitions per second with every interaction changed as fast as its commits allow."""
    done = 0
    end = time.perf_counter() + SECONDS

    async def change(index: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            moved = step(live[index], command(term, Event.CHANGE, set={"x": str(done % 10)}), time.time())
            await writer.submit(Write(steps=(moved,)))
            live[index] = moved.after
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(change(index) for index in range(len(live))))
    return done / (time.perf_counter() - began)


async def _pgbench(node: PostgresNode) -> float:
    """Transactions per second of pgbench, prepared, over the same Unix socket."""
    parts = urlsplit(node.dsn_of("stayline"))
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    host = query.get("host") or unquote(parts.hostname or "")
    script = node.files.run / "bench.sql"
    script.write_text(SCRIPT)
    script.chmod(0o644)
    arguments = [
        "-n",
        "-M",
        "prepared",
        "-c",
        str(CLIENTS),
        "-j",
        "1",
        "-T",
        str(int(SECONDS)),
        "-f",
        str(script),
    ]
    process = await asyncio.create_subprocess_exec(
        str(node.programs.path("pgbench")),
        *arguments,
        "-h", host, "-p", str(query.get("port") or parts.port or 5432), "-U", unquote(parts.username or ""),
        parts.path.lstrip("/"),
        env={"PGPASSWORD": unquote(parts.password or ""), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    found = re.search(r"tps = ([0-9.]+)", output)
    if found is None:
        raise RuntimeError(f"pgbench said: {output[-500:]}")
    return float(found[1])


async def transitions() -> list[Result]:
    """The figures, in turn with the reference."""
    async with running_postgres() as node:
        dsn = node.dsn_of("stayline")
        election = Election(dsn, "interaction", SITE, "bench-1")
        term = await election.campaign()

        async def apply(conn: object, items: list[Write]) -> list[Written | Refusal]:
            return await execute(conn, items)  # type: ignore[arg-type, return-value]

        writer: GroupWriter[Write, Written] = GroupWriter(dsn, term, apply, instance="bench-1")
        await writer.open()
        try:
            now = time.time()
            firsts = [submit(new(f"{kind}{n}"), command(term, Event.SUBMIT), now)
                      for kind in ("ixn", "pg") for n in range(1, INTERACTIONS + 1)]  # fmt: skip
            await asyncio.gather(*(writer.submit(Write(steps=(first,))) for first in firsts))
            live = [first.after for first in firsts if first.after.id.startswith("ixn")]
            ours, reference, batches = [], [], []
            for _ in range(ROUNDS):
                before = writer.transactions
                ours.append(await _ours(writer, live, term))
                batches.append(ours[-1] * SECONDS / max(1, writer.transactions - before))
                reference.append(await _pgbench(node))
            print(f"transitions: {sum(batches) / len(batches):.0f} transitions in a commit on average")
            what = f"pgbench, same rows, {CLIENTS} clients (tx/s)"
            return [compare("durable_transitions", "transitions/s", ours, what, reference)]
        finally:
            await writer.close()
            await election.close()
