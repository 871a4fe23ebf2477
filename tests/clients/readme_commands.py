"""The commands of the README for whole files, as they stand there, one after the other, on a new server.

    readme_commands.py README PROTO       PROTO is the folder that they publish; INKPOTD and INKPOT name the binaries
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from process import Server, expect

HEADING = "## Whole files\n"
ELSEWHERE = "/tmp "


def commands(readme):
    """The lines of all shell blocks below the heading."""
    with open(readme, encoding="utf-8") as text:
        _, found, rest = text.read().partition(HEADING)
    expect(found, f"the README has {HEADING.strip()!r}")
    section = rest.partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    expect(len(lines) > 5, f"commands for whole files: {lines}")
    return lines


def run(line, server, folder):
    environment = os.environ | {"INKPOT_ENDPOINT": f"http://{server.endpoint}"}
    tool = f"inkpot() {{ '{os.environ['INKPOT']}' \"$@\"; }}\n"
    # Nothing of a test lies in a folder that others share.
    line = line.replace(ELSEWHERE, f"{folder} ")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", tool + line], cwd=folder, env=environment, check=False)
    expect(done.returncode == 0, f"{line!r} ends with {done.returncode}")


def main():
    _, readme, proto = sys.argv
    with Server(os.environ["INKPOTD"]) as server, tempfile.TemporaryDirectory(prefix="inkpot-clients-") as folder:
        for name in ("Cargo.lock", "Cargo.toml"):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                file.write(f"{name} of a test\n")
        shutil.copytree(proto, f"{folder}/proto")
        for line in commands(readme):
            run(line, server, folder)
    print("the commands of the README for whole files: ok")


if __name__ == "__main__":
    main()
