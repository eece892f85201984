"""The state machines of links: pure functions of (view, event, time, chance). An import rule keeps them pure."""
