# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("authorize_payment")
# % else
@traced
# % endif
def authorize_payment(request: PaymentRequest) -> Payment:
    """Answer the payment request of another service."""
    payment = decide(request.amount)
    span = trace.get_current_span()
    span.set_attributes({"payment.amount": float(request.amount), "payment.success": payment.approved})
    return payment


def decide(amount: Decimal) -> Payment:
    """Approve what is within PAYMENT_LIMIT."""
    if amount > settings.PAYMENT_LIMIT:
        return Payment(approved=False, reason="limit")
    return Payment(approved=True, transaction_id=uuid4())
