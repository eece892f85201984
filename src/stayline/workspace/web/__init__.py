"""The agent's web page: Starlette, server-rendered fragments pushed by server-sent events, no build step."""
