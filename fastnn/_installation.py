"""Whether this folder holds fastnn alone. Another project of the public index, called fastnn as well, installs into it.

Whichever of the two came last has its ``__init__.py`` here, and an uninstalled one takes that away. So every way in
imports this module, not the package's ``__init__.py`` alone, and gets one sentence in the place of what breaks later.
"""

import sys
from pathlib import Path

_THEIRS = ("client.py", "exporting.py", "nn", "processors")  # names in the other project's folder, never in ours


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
