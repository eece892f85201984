"""The agent's side: the engine without any user interface, and the pages on it."""
