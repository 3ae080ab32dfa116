"""Runs in the ARM Python: run_mnn.py MODEL IMAGE.npy OUTPUT.npy REPEATS; MODEL.mnn."""

import sys

import MNN
import numpy as np

model, image, output, repeats = sys.argv[1:]
interpreter = MNN.Interpreter(f"{model}.mnn")
session = interpreter.createSession({"numThread": 1, "backend": "CPU", "precision": "high"})  # float32
source, result = interpreter.getSessionInput(session), interpreter.getSessionOutput(session)
pixels = np.load(image)
float32, nchw = MNN.Halide_Type_Float, MNN.Tensor_DimensionType_Caffe
tensor = MNN.Tensor(pixels.shape, float32, pixels, nchw)
for _ in range(int(repeats)):
    source.copyFrom(tensor)
    interpreter.runSession(session)
shape = result.getShape()
logits = MNN.Tensor(shape, float32, np.zeros(shape, np.float32), result.getDimensionType())
result.copyToHostTensor(logits)
np.save(output, np.array(logits.getData(), np.float32).reshape(1, -1))
