"""The Dag folder. Airflow puts it on the path; who imports it as a package gets the same."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
