"""Sets up this copy with nothing but Python: system libraries, .venv, hash-pinned packages.

    python3 config/bootstrap.py          what `make run` needs
    python3 config/bootstrap.py --dev    and what `make test` and `make check` need

Asks nothing. What is already there is left alone, so that a second call takes a tenth of a second.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
# Debian package → the feature that is missing without it.
PDF = "PDF files"
SYSTEM = {
    "libpango-1.0-0": PDF,
    "libpangoft2-1.0-0": PDF,
    "libharfbuzz-subset0": PDF,
    "fonts-noto-cjk": "Chinese letters in PDF files",
    "openssl": "signed checkpoints of the trail",
}
SYSTEM_DEV = {"chromium": "browser tests"}


def say(text: str) -> None:
    """One line to the terminal, at once."""
    print(f"setup: {text}", flush=True)


def stop(text: str) -> None:
    """Ends the set-up with one line."""
    sys.exit(f"setup: {text}")


def missing_system(wanted: dict[str, str]) -> list[str]:
    """Debian packages of `wanted` that are not installed; none on other systems."""
    query = shutil.which("dpkg-query")
    if not query:
        return []
    show = [query, "-W", "-f=${Package} ${db:Status-Status}\n", *wanted]
    listed = subprocess.run(show, capture_output=True, text=True, check=False).stdout
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [package for package in wanted if package not in installed]


def privilege() -> list[str] | None:
    """The words before apt-get: none for root, sudo when it asks nothing, None when neither."""
    if os.geteuid() == 0:
        return []
    if not (sudo := shutil.which("sudo")):
        return None
    asked = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False)
    return [sudo, "-n"] if asked.returncode == 0 else None


def apt(packages: list[str]) -> bool:
    """Installs Debian packages without questions; False when it may not or cannot."""
    before, apt_get = privilege(), shutil.which("apt-get")
    if before is None or not apt_get:
        return False
    say("apt-get install " + " ".join(packages))
    quiet = [*before, "env", "DEBIAN_FRONTEND=noninteractive", apt_get, "-qq"]
    nothing = subprocess.DEVNULL
    for step in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run([*quiet, *step], stdin=nothing, stdout=nothing, check=False)
    return done.returncode == 0


def system_packages(wanted: dict[str, str]) -> None:
    """Installs what is missing once; later, or without the right to, names it in one line."""
    missing = missing_system(wanted)
    tried = VENV / ("tried-" + hashlib.sha256(" ".join(missing).encode()).hexdigest()[:12])
    if missing and not tried.exists() and not apt(missing):
        tried.touch()
    missing = missing_system(wanted) if missing else []
    if missing:
        lost = ", ".join(dict.fromkeys(wanted[package] for package in missing))
        say(f"going on without {lost}; to have them: apt-get install {' '.join(missing)}")


def make_venv() -> None:
    """Creates .venv with pip; Debian keeps what that needs in a package of its own."""
    version = VENV / "python-version"
    if PYTHON.exists() and version.exists() and version.read_text() == sys.version:
        return
    package = "python3-venv"
    if importlib.util.find_spec("ensurepip") is None and not apt([package]):
        stop(f"this Python cannot make a virtual environment; run: apt-get install {package}")
    say(f"making {VENV.name} with Python {sys.version.split()[0]}")
    make = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(make, check=False).returncode:
        stop(f"python3 -m venv failed; run: apt-get install {package}")
    version.write_text(sys.version)


def python_packages(files: list[Path]) -> None:
    """Installs hash-pinned requirements unless these very files are installed already."""
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    stamps = [VENV / f"installed-{digest[:16]}" for digest in digests]
    if all(stamp.exists() for stamp in stamps):
        return
    say("installing Python packages from " + ", ".join(file.name for file in files))
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--require-hashes"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:"]
    for file in files:
        command += ["-r", str(file)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        stop("pip could not install the packages; the lines above say why")
    for stamp in stamps:
        stamp.touch()


def main(arguments: list[str]) -> None:
    """Brings this copy up to its requirements files; two at once wait for each other."""
    if sys.version_info < OLDEST:
        stop(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}")
    dev = "--dev" in arguments
    os.umask(0o022)  # the database's own account must be able to read its programs
    files = [ROOT / "requirements.txt"] + [ROOT / "requirements-dev.txt"] * dev
    with files[0].open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_venv()
        system_packages({**SYSTEM, **SYSTEM_DEV} if dev else SYSTEM)
        python_packages(files)


if __name__ == "__main__":
    main(sys.argv[1:])
