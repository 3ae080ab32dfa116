/* A compiled network: a Relax executable in a shared library, with its inputs in memory. */
#ifndef ARMATURE_MODEL_H_
#define ARMATURE_MODEL_H_

#include "interface.h"
#include <tvm/ffi/c_api.h>

typedef struct {
  TVMFFIAny library, executable, function;
  TVMFFIAny inputs[MAX_TENSORS];
  int input_count, output_count;
  TVMFFIAny result; /* of the last run: one tensor, or an array of them */
} Model;

/* Functions that return int log their error and give -1. */
int model_open(const char* library, const Interface* interface, Model* model);
void model_close(Model* model);

/* Runs once; the time is that of the call alone. */
int model_run(Model* model, double* milliseconds);

void* model_input(const Model* model, int index);

/* An output's numbers; NULL (and a line on stderr) when it does not have that many bytes. */
const void* model_output(const Model* model, int index, size_t bytes);

#endif
