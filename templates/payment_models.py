class PaymentUnavailable(Exception):
    """The payment service gave no answer, or none that can be understood."""


class PaymentRequest(BaseModel):
    """What is asked of the payment service."""

    model_config = ConfigDict(extra="forbid")

    order_id: UUID
    amount: Total


class Payment(BaseModel):
    """What the payment service decided."""

    approved: bool
    transaction_id: UUID | None = None
    reason: str | None = None
