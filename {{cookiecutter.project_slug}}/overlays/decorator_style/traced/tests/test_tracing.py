# % include "test_tracing.py"
