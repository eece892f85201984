"""Set up a checkout: ``.venv`` from the hashed locks, browser libraries, and what the tests need of the system.

Standard library only, because it runs before anything is installed. Called by the Makefile:
``setup.py run`` (what ``make run`` needs), ``setup.py test`` (also the test tools and Chromium),
``setup.py bench`` (also HAProxy and NATS). Repeating it costs a fraction of a second when nothing changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

SYSTEM: dict[str, list[tuple[tuple[str, ...], str, str]]] = {
    "test": [
        (("chromium", "chromium-browser", "google-chrome"), "chromium", "the browser tests"),
        (("ip",), "iproute2", "the tests over a network that fails"),
        (("nft",), "nftables", "the tests over a network that fails"),
    ],
    "bench": [
        (("haproxy",), "haproxy", "the proxy benchmark's reference"),
        (("nats-server",), "nats-server", "the proxy benchmark's other reference"),
    ],
}
LOCKS = {"run": ["build", "run"], "test": ["build", "run", "dev"], "bench": ["build", "run", "dev"]}


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"setup: {text}", flush=True)


def run(*command: str | Path, quiet: bool = True) -> bool:
    """Run a command; its output is shown only when it fails."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode and quiet:
        sys.stderr.write(done.stdout or "")
    return done.returncode == 0


def system_install(*packages: str) -> bool:
    """Install Debian packages when this user may: as root, or by a sudo that asks nothing."""
    if shutil.which("apt-get") is None:
        return False
    prefix: list[str] = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None or not run("sudo", "-n", "true"):
            return False
        prefix = ["sudo", "-n"]
    say(f"installing {' '.join(packages)} from the system's packages")
    if run(*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages):
        return True
    return run(*prefix, "apt-get", "update", "-qq") and run(
        *prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages
    )


def make_venv() -> None:
    """Create ``.venv`` with pip in it, installing the system's venv package where Debian left it out."""
    if PYTHON.exists() and run(PYTHON, "-c", "import pip"):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        import ensurepip  # noqa: F401  (Debian ships Python without it)
    except ImportError:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        if not system_install(version):
            sys.exit(f"setup: this Python has no ensurepip; install the package {version} and run make again")
    say("creating .venv")
    if not run(sys.executable, "-m", "venv", VENV):
        sys.exit("setup: could not create .venv; see the lines above")


def install(target: str) -> None:
    """Install the locks of ``target`` and Stayline itself, unless this very set is installed already."""
    files = [ROOT / "requirements" / f"{name}.txt" for name in LOCKS[target]]
    inputs = [*files, ROOT / "pyproject.toml"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs) + str(ROOT).encode()).hexdigest()
    stamp = VENV / f".installed-{target}"
    if stamp.exists() and stamp.read_text() == digest:
        return
    for path in files:
        say(f"installing requirements/{path.name}")
        if not run(PYTHON, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", path):
            sys.exit(f"setup: requirements/{path.name} could not be installed; see the lines above")
    if not run(PYTHON, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", ROOT):
        sys.exit("setup: Stayline itself could not be installed; see the lines above")
    stamp.write_text(digest)


def browser_libraries() -> None:
    """Bring the browser libraries named in package-lock.json into their ignored folder."""
    if not run(PYTHON, ROOT / "scripts" / "vendor_web.py"):
        sys.exit("setup: the browser libraries could not be installed; see the lines above")


def system_parts(target: str) -> None:
    """What cannot come from the package index: install it when we may, else say in one line what to install."""
    for programs, package, purpose in SYSTEM.get(target, []):
        if any(shutil.which(name) for name in programs) or system_install(package):
            continue
        say(
            f"{package} is missing ({purpose} will be skipped): install it with your system's package manager"
        )


def main() -> None:
    """Entry point."""
    target = sys.argv[1] if len(sys.argv) > 1 else "run"
    if target not in LOCKS:
        sys.exit(f"setup: unknown target {target!r}; use one of {', '.join(LOCKS)}")
    if sys.version_info < (3, 11):  # noqa: UP036  (this file runs before pip could refuse)
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"setup: Stayline needs Python 3.11 or newer, this is {found}; try make PYTHON=python3.12 {target}"
        )
    make_venv()
    install(target)
    browser_libraries()
    system_parts(target)


if __name__ == "__main__":
    main()
