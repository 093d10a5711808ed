import subprocess
import sys


def test_importing_the_package_loads_no_lightgbm_and_nothing_of_aigq() -> None:
    """A process that only imports it may still fork; LightGBM hangs in a forked process."""
    code = (
        "import sys, ctr_model.train, ctr_model.validate, ctr_model.config;"
        "print([m for m in sorted(sys.modules) if m.split('.')[0] in"
        " ('lightgbm', 'sklearn', 'aigq_tasks', 'torch', 'boto3', 'airflow')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
