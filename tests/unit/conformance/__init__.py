"""The conformance suite's cases, format, judgements and player in virtual time."""
