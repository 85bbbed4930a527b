"""Resources that cannot be opened; importing this module is enough."""

from __future__ import annotations

from typing import Any

from order_service import components


def resources(settings: Any) -> Any:
    raise RuntimeError("the resources cannot be opened")


components.resources = resources
