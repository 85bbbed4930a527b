"""The contract on every other Python. Its processes end by SIGTERM, and none of them may warn."""

from tests.contract.test_contract import *  # noqa: F403
