"""When an order was announced, and when it is due to be published again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("orders", sa.Column("announced_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("orders", sa.Column("announce_after", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_orders_announce_after"), "orders", ["announce_after"])


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index(op.f("ix_orders_announce_after"), table_name="orders")
    op.drop_column("orders", "announce_after")
    op.drop_column("orders", "announced_at")
