#!/bin/sh
# Print every GPU figure of docs/explanation/performance.md, in at most nine minutes on a bare machine with one CUDA GPU.
#
#     python -m pip install -c constraints.txt -e '.[test]'    # the default wheel of torch has CUDA
#     sh scripts/gpu_figures.sh [FOLDER]                        # default: gpu-figures
#
# Correct first: the tests on the device run before anything is timed, and a test that fails ends the script (STRICT=0:
# it does not). FOLDER then has tests.txt, and gpu.json with all figures; the table is printed, too.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-gpu-figures}
mkdir -p "$folder"
status=0
timeout 150 python -m pytest -q -m device -k cuda >"$folder/tests.txt" 2>&1 || status=$?
cat "$folder/tests.txt"
if [ "$status" != 0 ] && [ "${STRICT:-1}" != 0 ]; then
    exit "$status"
fi
timeout 380 python scripts/benchmark.py gpu --limit-sec 330 --json >"$folder/gpu.json"
python - "$folder/gpu.json" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
print(*(f"{key}: {value}" for key, value in report["work"].items()), sep="\n")
for name, figures in report["results"].items():
    print(name, *(f"{key}={figure['median']:g}" for key, figure in figures.items()))
END
