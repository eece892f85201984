"""Where a state of the configuration stands in all histories."""


def position(mark: str, revision: int) -> tuple[int, int]:
    """The epoch in which ``revision`` was made (its ``mark`` says so), then its number: greater is newer, also when a
    forced switch-over lost revisions and their numbers came again."""
    epoch, _, _ = mark.partition("-")
    return (int(epoch) if epoch.isdigit() else 0, revision)
