"""What `manage.py` does differently here."""
