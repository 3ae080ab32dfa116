/* A compiled network, loaded, with its inputs in memory: a bundle's (model.c), or a C library (targets/runner). */
#ifndef ARMATURE_MODEL_H_
#define ARMATURE_MODEL_H_

#include "interface.h"

typedef struct Model Model;

/* The network in a folder, whose inferences so many threads share. NULL where it cannot be had: `status` is then an
 * exit code. What goes wrong in these functions is told on stderr. */
Model* model_open(const char* folder, int threads, int* status);

const Interface* model_interface(const Model* model);

void* model_input(const Model* model, int index);

/* Runs once; the time is that of the call alone. -1 when it fails. */
int model_run(Model* model, double* milliseconds);

/* An output's numbers, as many as its description says; NULL when there are others. */
const void* model_output(const Model* model, int index);

void model_close(Model* model);

#endif
