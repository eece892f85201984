"""Histories of a drill in which nothing went wrong, of any shape: the soil in which tests plant faults."""

from hypothesis import strategies as st

from stayline.lab.history import (
    AgentFact,
    CustomerFact,
    EntryRow,
    History,
    InteractionRow,
    JournalStep,
)

AGENTS = ("ann", "bob", "cas")


class Story:
    """Tells one history step by step, as the sides would write it down."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.history = History({agent: [] for agent in AGENTS}, {}, [], [], [])
        self.rows: dict[str, InteractionRow] = {}
        self.last: dict[str, JournalStep] = {}
        self.said = 0

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def begin(self, number: int) -> str:
        session = f"chat{number}"
        self.history.customers[session] = [CustomerFact("started", self.tick(), session)]
        self.step(session, "submit", "queued", "")
        return session

    def step(self, session: str, event: str, state: str, agent: str) -> None:
        before = self.last.get(session)
        version = before.version + 1 if before is not None else 1
        made = JournalStep(
            interaction=f"ixn-{session}",
            version=version,
            event=event,
            from_state=before.to_state if before is not None else "",
            to_state=state,
            agent=agent,
            session=f"session of {agent}" if agent else "",
            previous_agent=before.agent if before is not None else "",
            previous_session=before.session if before is not None else "",
            at=self.tick(),
        )
        self.last[session] = made
        self.history.journal.append(made)
        self.rows[session] = InteractionRow(made.interaction, session, state, agent, made.session, version)

    def own(self, session: str, agent: str) -> None:
        """The chat goes to ``agent``, from whoever has it."""
        before = self.last[session]
        if before.agent == agent:
            return
        if before.agent:
            self.step(session, "transfer", "queued", "")
            self.note(before.agent, "gone", interaction=before.interaction)
        self.step(session, "accept", "owned", agent)
        self.note(agent, "owned", interaction=before.interaction, chat_session=session)
        self.note(agent, "joined", session=session)
        for entry in self.history.entries:
            if entry.session == session:
                self.note(agent, "seen", session=session, seq=entry.seq, message=entry.id)

    def note(self, agent: str, fact: str, **details: object) -> None:
        self.history.agents[agent].append(AgentFact(fact, self.tick(), agent, **details))  # type: ignore[arg-type]

    def outage(self, agent: str) -> None:
        """The agent loses the core for a while and keeps everything."""
        self.note(agent, "restricted")
        self.note(agent, "restored")

    def say(self, session: str, by_customer: bool) -> None:
        """A message, acknowledged, stored and shown."""
        self.said += 1
        owner = self.last[session].agent
        if not by_customer and not owner:
            return
        id_, seq = f"m{self.said}", 1 + sum(one.session == session for one in self.history.entries)
        party, user = ("customer", "") if by_customer else ("agent", owner)
        self.history.entries.append(EntryRow(session, seq, id_, "message", party, user, f"text {self.said}"))
        facts = self.history.customers[session]
        if by_customer:
            facts.append(CustomerFact("typed", self.tick(), session, id=id_))
            facts.append(CustomerFact("acked", self.tick(), session, id=id_, seq=seq))
        else:
            self.note(owner, "sent", session=session, message=id_)
            self.note(owner, "acked", session=session, message=id_, seq=seq)
        facts.append(CustomerFact("shown", self.tick(), session, id=id_, seq=seq, party=party))
        if owner:
            self.note(owner, "seen", session=session, seq=seq, message=id_)

    def told(self) -> History:
        self.history.interactions = list(self.rows.values())
        return self.history


@st.composite
def sound(draw: st.DrawFn) -> History:
    """Any sound history: at least one chat is owned and has two messages of each side."""
    story = Story()
    chats = [story.begin(number) for number in range(draw(st.integers(1, 3)))]
    story.own(chats[0], "ann")
    for by_customer in (True, False, True, False):
        story.say(chats[0], by_customer)
    moves = st.tuples(
        st.sampled_from(["own", "say", "answer", "outage"]), st.sampled_from(chats), st.sampled_from(AGENTS)
    )
    for what, chat, agent in draw(st.lists(moves, max_size=25)):
        match what:
            case "own":
                story.own(chat, agent)
            case "outage":
                story.outage(agent)
            case _:
                story.say(chat, what == "say")
    return story.told()
