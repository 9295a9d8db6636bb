"""Checks whether this folder holds fastnn alone: another project called fastnn in the public index installs into it.

Of the two projects, the one installed last has its ``__init__.py`` here, and uninstalling it takes that file away. So
every module that users import first imports this module, and raises one sentence instead of what would break later.
"""

import sys
from pathlib import Path

# names in the other project's folder that ours does not have
_THEIRS = ("client.py", "exporting.py", "nn", "processors")


def check_folder(folder: Path) -> None:
    """Raise ImportError where the other project's files lie in the package's folder, or its ``__init__.py`` is gone."""
    found = [name for name in _THEIRS if (folder / name).exists()]
    if not found and getattr(sys.modules["fastnn"], "__file__", None) is not None:
        return
    what = f"{', '.join(found)} of another project called fastnn" if found else "no __init__.py"
    raise ImportError(
        f"the folder {folder} holds {what}: run `pip uninstall fastnn fastnn-cpu`, then "
        f"`pip install --no-cache-dir fastnn-cpu`, which is imported as fastnn"
    )


check_folder(Path(__file__).parent)
