"""Makes `env_toys` importable by name, as a user's own module would be."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
