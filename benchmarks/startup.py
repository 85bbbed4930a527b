"""Startup of a process: `python -m benchmarks.startup` creates the application of BENCH_VARIANT and exits at once.

It imports the service's database and HTTP client, with and without telemetry, and prints the memory in MB.
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
# Not resource.getrusage(), which starts with the parent's value.
print(int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1000, flush=True)
os._exit(0)  # shutdown is measured elsewhere
