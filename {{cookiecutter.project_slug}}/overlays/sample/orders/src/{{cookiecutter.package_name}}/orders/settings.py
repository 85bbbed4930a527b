"""The settings of this package. components.py adds them to the service's settings."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings


class OrderSettings(BaseSettings):
    """The payment service, and the limit that applies if there is none."""

    payment_url: Annotated[
        str,
        Field(pattern="^(https?://.+)?$", description="payment service, such as http://host/path; empty: decide here"),
    ] = ""
    payment_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False, description="timeout in seconds")] = 5
    payment_limit: Annotated[Decimal, Field(gt=0, allow_inf_nan=False, description="highest amount approved here")] = (
        Decimal("1000.00")
    )
