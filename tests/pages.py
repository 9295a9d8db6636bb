"""How the code of the documentation's pages is run."""

import subprocess
import sys

# Blocks marked as Python, one after the other in one namespace, each at its line of the page. A block whose mark has a
# second word, which says what it needs, is left out, unless "all" are to run.
RUN_PAGE = """
import pathlib, re, sys
path, mark = sys.argv[1], r"```python( \\w+)?" if "all" in sys.argv[2:] else "```python()"
text = pathlib.Path(path).read_text(encoding="utf-8")
names = {"__name__": "page"}
for block in re.finditer(f"^{mark}\\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
    before = text[: block.start(2)].count("\\n")
    exec(compile("\\n" * before + block[2], path, "exec"), names)
"""


def run(code, folder, *arguments, warnings="error"):
    """Run Python code in an empty folder; a warning is an error."""
    command = [sys.executable, "-W", warnings, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
