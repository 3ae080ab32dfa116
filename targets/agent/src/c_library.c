#include "c_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static char why[512];

/* Puts the library's function into a pointer to such a function; how many could not be found. */
static int find(const CLibrary* library, const char* name, const char* function, void* pointer) {
  char symbol[256];
  snprintf(symbol, sizeof symbol, "%s_%s", name, function);
  void* found = dlsym(library->code, symbol);
  if (found == NULL) snprintf(why, sizeof why, "it has no function %s: is it a C library, under its own name?", symbol);
  memcpy(pointer, &found, sizeof found);
  return found == NULL;
}

static int find_all(CLibrary* library, const char* name) {
  return find(library, name, "input", &library->input) || find(library, name, "output", &library->output) ||
         find(library, name, "message", &library->message) || find(library, name, "create", &library->create) ||
         find(library, name, "run", &library->run) || find(library, name, "destroy", &library->destroy);
}

static void describe(const LibraryTensor* tensor, TensorInfo* info) {
  snprintf(info->name, sizeof info->name, "%s", tensor->name);
  snprintf(info->dtype, sizeof info->dtype, "%s", tensor->dtype);
  snprintf(info->shape_text, sizeof info->shape_text, "scalar");
  size_t length = 0;
  for (size_t i = 0; i < tensor->rank && length < sizeof info->shape_text; i++) {
    info->shape[i] = tensor->shape[i];
    length += (size_t)snprintf(info->shape_text + length, sizeof info->shape_text - length, "%s%lld",
                               i == 0 ? "" : "x", (long long)tensor->shape[i]);
  }
  info->dimensions = (int)tensor->rank;
  info->bytes = tensor->size;
}

/* How many tensors there are; -1 where they are too many. */
static int describe_all(const LibraryTensor* (*tensor)(size_t), TensorInfo* infos) {
  int count = 0;
  for (; tensor((size_t)count) != NULL; count++) {
    if (count == MAX_TENSORS) return -1;
    describe(tensor((size_t)count), &infos[count]);
  }
  return count;
}

static const char* make_handle(CLibrary* library, int threads) {
  library->interface.input_count = describe_all(library->input, library->interface.inputs);
  library->interface.output_count = describe_all(library->output, library->interface.outputs);
  if (library->interface.input_count < 0 || library->interface.output_count < 0) {
    snprintf(why, sizeof why, "it has more than %d inputs or outputs", MAX_TENSORS);
    return why;
  }
  LibraryOptions options = {.threads = threads};
  int error = library->create(&options, &library->handle);
  return error == 0 ? NULL : library->message(error);
}

const char* c_library_open(const char* path, const char* name, int threads, CLibrary* library) {
  memset(library, 0, sizeof *library);
  library->code = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library->code == NULL) {
    snprintf(why, sizeof why, "%s", dlerror());
    return why;
  }
  const char* failed = find_all(library, name) ? why : make_handle(library, threads);
  if (failed == NULL) return NULL;
  if (failed != why) snprintf(why, sizeof why, "%s", failed); /* it is the library's, which goes */
  c_library_close(library);
  return why;
}

const char* c_library_run(const CLibrary* library, const LibrarySource* inputs, const LibraryTarget* outputs) {
  int error = library->run(library->handle, inputs, outputs);
  return error == 0 ? NULL : library->message(error);
}

void c_library_close(CLibrary* library) {
  if (library->handle != NULL) library->destroy(library->handle);
  if (library->code != NULL) dlclose(library->code);
  memset(library, 0, sizeof *library);
}
