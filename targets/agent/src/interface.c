#include "interface.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tvm/ffi/c_api.h>

#include "agent.h"

static int parse_shape(TensorInfo* tensor) {
  const char* text = tensor->shape_text;
  if (strcmp(text, "scalar") == 0) return 0;
  for (;;) {
    char* end;
    errno = 0;
    long long extent = strtoll(text, &end, 10);
    if (end == text || errno != 0 || extent < 1 || tensor->dimensions == MAX_DIMENSIONS) return -1;
    tensor->shape[tensor->dimensions++] = extent;
    if (__builtin_mul_overflow(tensor->bytes, (size_t)extent, &tensor->bytes)) return -1;
    if (*end == '\0') return 0;
    if (*end != 'x') return -1;
    text = end + 1;
  }
}

static int parse_tensor(TensorInfo* tensor) {
  TVMFFIByteArray dtype = {tensor->dtype, strlen(tensor->dtype)};
  DLDataType type;
  if (TVMFFIDataTypeFromString(&dtype, &type) != 0) return -1;
  tensor->bytes = (size_t)(type.bits * type.lanes + 7) / 8;
  return parse_shape(tensor);
}

static int parse_line(const char* line, Interface* interface) {
  char role[MAX_TEXT], rest[2];
  TensorInfo tensor;
  memset(&tensor, 0, sizeof tensor);
  int fields = sscanf(line, "%127s %127s %127s %127s %1s", role, tensor.name, tensor.dtype, tensor.shape_text, rest);
  if (fields != 4 || parse_tensor(&tensor) != 0) return -1;
  if (strcmp(role, "input") == 0 && interface->input_count < MAX_TENSORS) {
    interface->inputs[interface->input_count++] = tensor;
    return 0;
  }
  if (strcmp(role, "output") == 0 && interface->output_count < MAX_TENSORS) {
    interface->outputs[interface->output_count++] = tensor;
    return 0;
  }
  return -1;
}

int interface_read(const char* path, Interface* interface) {
  memset(interface, 0, sizeof *interface);
  FILE* file = fopen(path, "r");
  if (file == NULL) {
    log_line("%s: %s", path, strerror(errno));
    return -1;
  }
  char line[1024];
  int number = 0, status = 0;
  while (status == 0 && fgets(line, sizeof line, file) != NULL) {
    number++;
    if (line[0] != '\n') status = parse_line(line, interface);
  }
  fclose(file);
  if (status != 0) log_line("%s:%d: not a tensor: %s", path, number, line);
  return status;
}
