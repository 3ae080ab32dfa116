"""Runs in the ARM Python: run_ncnn.py MODEL IMAGE.npy OUTPUT.npy REPEATS; MODEL.param and MODEL.bin."""

import sys

import ncnn
import numpy as np

model, image, output, repeats = sys.argv[1:]
net = ncnn.Net()
net.opt.num_threads = 1
net.opt.use_vulkan_compute = False
# float32 throughout, as the published figures of cores before ARMv8.2 are.
for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
    setattr(net.opt, f"use_{option}", False)
if net.load_param(f"{model}.param") != 0 or net.load_model(f"{model}.bin") != 0:
    sys.exit("ncnn does not load the model")
pixels = np.ascontiguousarray(np.load(image)[0])
logits = None
for _ in range(int(repeats)):
    extractor = net.create_extractor()
    extractor.input("image", ncnn.Mat(pixels))
    status, logits = extractor.extract("logits")
    if status != 0:
        sys.exit(f"ncnn fails with status {status}")
np.save(output, np.array(logits).reshape(1, -1))
