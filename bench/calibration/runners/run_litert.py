"""Runs in the ARM Python: run_litert.py MODEL IMAGE.npy OUTPUT.npy REPEATS; MODEL.tflite."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

model, image, output, repeats = sys.argv[1:]
interpreter = Interpreter(f"{model}.tflite", num_threads=1)
interpreter.allocate_tensors()
(source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
pixels = np.ascontiguousarray(np.load(image).transpose(0, 2, 3, 1))
for _ in range(int(repeats)):
    interpreter.set_tensor(source["index"], pixels)
    interpreter.invoke()
np.save(output, interpreter.get_tensor(result["index"]))
