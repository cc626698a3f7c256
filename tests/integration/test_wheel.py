"""What `make dist` builds: the product, whole, and nothing that only a checkout needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_the_product_and_no_demo(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    product = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "authz").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == product
    assert any(name.endswith("airflow-3.3.yaml") for name in names)
