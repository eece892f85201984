"""The centre that a lab runs: a TOML file that was named, the one the folder was made from, or the sample."""

from importlib.resources import files
from pathlib import Path

from stayline.control.host.run_file import write_durably
from stayline.domain.errors import refuse
from stayline.domain.provisioning import Provisioned, parse_provisioning

_NAME = "two-sites.toml"


def sample_text() -> str:
    """Text of the sample centre: from the installed package, or from a checkout's ``examples``."""
    packaged = files("stayline.lab") / _NAME
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = Path(__file__).parents[3] / "examples" / _NAME
    try:
        return checkout.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise refuse(
            "lab.no_sample",
            f"The sample centre {_NAME} is not in this installation.",
            fix="Give --config FILE.",
        ) from error


def load_centre(config: Path | None, state: Path) -> Provisioned:
    """The centre's objects. The text is kept in the state folder, so that a later start without ``config``
    uses the same one. Raises ProvisioningError with every fault, RefusedError ``lab.no_config``."""
    kept = state / "centre.toml"
    if config is not None:
        try:
            text, name = config.read_text(encoding="utf-8"), str(config)
        except OSError as error:
            raise refuse("lab.no_config", f"{config} cannot be read: {error.strerror}.") from error
    elif kept.exists():
        text, name = kept.read_text(encoding="utf-8"), str(kept)
    else:
        text, name = sample_text(), _NAME
    provisioned = parse_provisioning(text, name)
    write_durably(kept, text.encode())
    return provisioned
