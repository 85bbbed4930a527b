"""The contract on every other Python. The processes end by SIGTERM, and must not warn."""

from tests.contract.test_contract import *  # noqa: F403
