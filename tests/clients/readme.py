"""The snippets of the README, as they stand there: run twice, the second append is a duplicate.

    readme.py README LANGUAGE FILE COMMAND...       FILE is where the snippet is put; COMMAND runs it
"""

import os
import re
import subprocess
import sys

from process import Server, expect

ADDRESS = "127.0.0.1:7411"
LINE = b"paid 12.50\n"


def snippet(readme, language):
    """The only block of this language."""
    with open(readme, encoding="utf-8") as text:
        found = re.findall(rf"^```{language}\n(.*?)^```$", text.read(), re.MULTILINE | re.DOTALL)
    expect(len(found) == 1, f"{len(found)} blocks of {language} in the README")
    expect(ADDRESS in found[0], f"the block of {language} names {ADDRESS}")
    return found[0]


def main():
    readme, language, file, *command = sys.argv[1:]
    code = snippet(readme, language)
    with Server(os.environ["INKPOTD"]) as server:
        with open(file, "w", encoding="utf-8") as out:
            out.write(code.replace(ADDRESS, server.endpoint))
        said = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for _ in range(2)]
        duplicate = ["duplicate: true" in answer for answer in said]
        expect(duplicate == [False, True], f"the second append is a duplicate: {said}")
        server.wait_for_plain("logs/billing.log", LINE)
    print(f"the snippet in {language} of the README: ok")


if __name__ == "__main__":
    main()
