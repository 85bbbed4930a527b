# % include "tracing.py"
