/* What a network takes and gives, and the lines that say so, as in a bundle's interface.txt,
 *   input NAME DTYPE 1x3x224x224
 *   output NAME DTYPE 1x1000
 * A tensor without dimensions has the shape `scalar`. */
#ifndef ARMATURE_INTERFACE_H_
#define ARMATURE_INTERFACE_H_

#include <stddef.h>
#include <stdint.h>

enum { MAX_TENSORS = 64, MAX_DIMENSIONS = 8, MAX_TEXT = 128 };

typedef struct {
  char name[MAX_TEXT], dtype[MAX_TEXT], shape_text[MAX_TEXT];
  int64_t shape[MAX_DIMENSIONS];
  int dimensions;
  size_t bytes; /* contiguous, in memory and in files */
} TensorInfo;

typedef struct {
  TensorInfo inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  int input_count, output_count;
} Interface;

/* Reads the file; -1 (and a line on stderr) when it is missing or not understood. */
int interface_read(const char* path, Interface* interface);

#endif
