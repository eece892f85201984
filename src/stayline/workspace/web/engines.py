"""Real engines for the page, made from a site's bootstrap file."""

from pathlib import Path

from stayline.link.bootstrap import Bootstrap
from stayline.workspace.engine import WorkspaceEngine, check_password
from stayline.workspace.protocol import Workspace
from stayline.workspace.settings import EngineSettings


class EngineMaker:
    """Makes engines for the agents of one Workspace process. ``state`` is where their files are kept."""

    def __init__(self, bootstrap: Bootstrap, state: Path) -> None:
        self.state = state
        self._bootstrap = bootstrap

    def settings(self, user: str) -> EngineSettings:
        """Settings of the engine of ``user``."""
        folder = self.state / "agents"
        return EngineSettings.from_bootstrap(self._bootstrap, user=user, state_dir=folder)

    def engine(self, user: str) -> Workspace:
        """An engine for ``user``, neither logged in nor restored."""
        return WorkspaceEngine(self.settings(user))

    async def check_password(self, user: str, password: str, source: str) -> None:
        """Raises RefusedError when the password is wrong, LinkLostError when no Configuration Server answers."""
        await check_password(self.settings(user), user, password, source)
