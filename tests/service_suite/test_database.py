"""The values of DATABASE_URL."""

from __future__ import annotations

import pytest
from order_service import components, settings

ALLOWED = "allowed are sqlite:///file.db and postgresql://user:password@host/database"


@pytest.mark.parametrize(
    "url", ["sqlite:///other.db", "sqlite:////tmp/other.db", "postgresql://u:p@h/d", "postgresql://"]
)
def test_supported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert settings.load(components.ServiceSettings).database_url.get_secret_value() == url


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://u:p@h/d", "other.db"])
def test_not_supported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, each connection would have a database of its own."""
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(settings.SettingsError, match=ALLOWED):
        settings.load(components.ServiceSettings)
