"""What every virtlease process needs, and nothing of what any of them does."""

import os

# gRPC's core writes to standard error in a form of its own, and reads this when it is first imported. What matters
# reaches us as exceptions.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
