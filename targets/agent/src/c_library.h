/* A network as a plain C library (docs/c-library.md), found by name when the program runs. The types are those of
 * compile/c_library/model.h.in, which every library has under its own name. */
#ifndef ARMATURE_C_LIBRARY_H_
#define ARMATURE_C_LIBRARY_H_

#include "interface.h"

typedef struct {
  const char *name, *dtype, *layout;
  size_t rank;
  int64_t shape[MAX_DIMENSIONS];
  size_t size, alignment;
  double scale;
  int64_t zero_point;
} LibraryTensor;

typedef struct {
  void* workspace;
  size_t workspace_size;
  int threads, pin;
  const char* core;
} LibraryOptions;

typedef struct {
  const void* data;
  size_t size;
} LibrarySource;

typedef struct {
  void* data;
  size_t size;
} LibraryTarget;

typedef struct {
  void *code, *handle;
  const LibraryTensor* (*input)(size_t index);
  const LibraryTensor* (*output)(size_t index);
  const char* (*message)(int error);
  int (*create)(const LibraryOptions* options, void** handle);
  int (*run)(void* handle, const LibrarySource* inputs, const LibraryTarget* outputs);
  int (*destroy)(void* handle);
  Interface interface;
} CLibrary;

/* Loads the file, whose functions begin with `name`, and makes a handle whose runs so many threads share. NULL when
 * done, else why not: valid until the next call. */
const char* c_library_open(const char* path, const char* name, int threads, CLibrary* library);

/* Runs it once; NULL when done, else why not. */
const char* c_library_run(const CLibrary* library, const LibrarySource* inputs, const LibraryTarget* outputs);

void c_library_close(CLibrary* library);

#endif
