"""The conformance suite: cases of the connection logic, played to pure machines and to real clients."""
