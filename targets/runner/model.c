/* The C library of a folder, with buffers for what it takes and gives: see model.h of the agent. */
#include "model.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "c_library.h"

struct Model {
  CLibrary library;
  LibrarySource inputs[MAX_TENSORS];
  LibraryTarget outputs[MAX_TENSORS];
};

/* What a library's file is called after: NAME of libNAME.so; -1 where it is no such file. */
static int library_name(const char* file, char* name, size_t size) {
  size_t length = strlen(file), around = strlen("lib") + strlen(".so");
  if (length <= around || strncmp(file, "lib", 3) != 0 || strcmp(file + length - 3, ".so") != 0) return -1;
  snprintf(name, size, "%.*s", (int)(length - around), file + 3);
  return 0;
}

/* The name of the folder's only library; -1 where there is none, or where there are more. */
static int find_library(const char* folder, char* name, size_t size) {
  int count = 0;
  DIR* listing = opendir(folder);
  for (struct dirent* entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
    count += library_name(entry->d_name, name, size) == 0;
  }
  if (listing != NULL) closedir(listing);
  if (count == 1) return 0;
  log_line("%s has %d libraries lib*.so: this program wants one", folder, count);
  return -1;
}

static int make_buffers(Model* model) {
  const Interface* interface = &model->library.interface;
  for (int i = 0; i < interface->input_count; i++) {
    size_t size = interface->inputs[i].bytes;
    model->inputs[i] = (LibrarySource){malloc(size), size};
    if (model->inputs[i].data == NULL) return -1;
  }
  for (int i = 0; i < interface->output_count; i++) {
    size_t size = interface->outputs[i].bytes;
    model->outputs[i] = (LibraryTarget){malloc(size), size};
    if (model->outputs[i].data == NULL) return -1;
  }
  return 0;
}

Model* model_open(const char* folder, int threads, int* status) {
  char name[NAME_MAX + 1], path[PATH_MAX + NAME_MAX];
  *status = EXIT_USAGE;
  if (find_library(folder, name, sizeof name) != 0) return NULL;
  snprintf(path, sizeof path, "%s/lib%s.so", folder, name);
  *status = EXIT_FAILED;
  Model* model = calloc(1, sizeof *model);
  const char* why = model == NULL ? "no memory" : c_library_open(path, name, threads, &model->library);
  if (why == NULL && make_buffers(model) != 0) why = "no memory for inputs and outputs";
  if (why == NULL) return model;
  log_line("%s: %s", path, why);
  if (model != NULL) model_close(model);
  return NULL;
}

const Interface* model_interface(const Model* model) { return &model->library.interface; }

void* model_input(const Model* model, int index) { return (void*)model->inputs[index].data; }

int model_run(Model* model, double* milliseconds) {
  double start = seconds_now();
  const char* why = c_library_run(&model->library, model->inputs, model->outputs);
  *milliseconds = (seconds_now() - start) * 1e3;
  if (why == NULL) return 0;
  log_line("inference: %s", why);
  return -1;
}

const void* model_output(const Model* model, int index) { return model->outputs[index].data; }

void model_close(Model* model) {
  for (int i = 0; i < MAX_TENSORS; i++) {
    free((void*)model->inputs[i].data);
    free(model->outputs[i].data);
  }
  c_library_close(&model->library);
  free(model);
}
