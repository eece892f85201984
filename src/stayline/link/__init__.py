"""How two parties talk: frames, heartbeats, identity, sessions; state machines first, thin shells around them."""
