"""Rules that schemathesis cannot read from the OpenAPI document; it imports this module."""

from typing import Any

import schemathesis


@schemathesis.hook  # type: ignore[untyped-decorator,unused-ignore]
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Drop orders with a repeated SKU: no schema can express that rule."""
    items = case.body.get("items") if isinstance(case.body, dict) else None
    skus = [repr(item.get("sku")) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return len(skus) == len(set(skus))
