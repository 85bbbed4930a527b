"""Start of a process: `python -m benchmarks.startup` makes the application of BENCH_VARIANT and ends at once.

It imports what the service works with, its database and its HTTP client, with and without telemetry. It prints MB.
"""

import importlib
import os
import re
from pathlib import Path

from benchmarks import apps

LIBRARIES = {
    "flask": ("requests", "sqlalchemy.orm"),
    "fastapi": ("httpx", "sqlalchemy.ext.asyncio"),
    "django": ("requests", "django.db.backends.sqlite3.base"),
}

for name in LIBRARIES[apps.FRAMEWORK]:
    importlib.import_module(name)
apps.create()
# Not by resource.getrusage, which begins with what the parent had.
print(int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1000, flush=True)
os._exit(0)  # what the end of a process takes is measured elsewhere
