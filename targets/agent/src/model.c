#include "model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "ffi.h"

enum { POOLED_ALLOCATOR = 2 }; /* tvm::runtime::memory::AllocatorType::kPooled */

struct Model {
  Interface interface;
  TVMFFIAny library, executable, function; /* a Relax executable in a shared library */
  TVMFFIAny inputs[MAX_TENSORS];
  TVMFFIAny result; /* of the last run: one tensor, or an array of them */
};

static const DLTensor* tensor_of(const TVMFFIAny* any) {
  return (const DLTensor*)((const char*)any->v_obj + sizeof(TVMFFIObject));
}

static void* data_of(const TVMFFIAny* any) {
  const DLTensor* tensor = tensor_of(any);
  return (char*)tensor->data + tensor->byte_offset;
}

static int fail(const char* what) {
  log_line("%s: %s", what, ffi_error());
  return -1;
}

static int make_tensor(const TensorInfo* info, TVMFFIAny* tensor) {
  TVMFFIAny extents[MAX_DIMENSIONS], shape;
  TVMFFIByteArray dtype = {info->dtype, strlen(info->dtype)};
  for (int i = 0; i < info->dimensions; i++) extents[i] = ffi_int(info->shape[i]);
  TVMFFIAny arguments[] = {ffi_none(), ffi_none(), ffi_none(), ffi_none()};
  arguments[1].type_index = kTVMFFIDataType;
  if (TVMFFIDataTypeFromString(&dtype, &arguments[1].v_dtype) != 0) return -1;
  if (ffi_call_global("ffi.Shape", extents, info->dimensions, &shape) != 0) return -1;
  arguments[0] = ffi_object(&shape);
  arguments[2].type_index = kTVMFFIDevice;
  arguments[2].v_device.device_type = kDLCPU;
  int status = ffi_call_global("runtime.TVMTensorAllocWithScope", arguments, 4, tensor);
  ffi_release(&shape);
  return status;
}

static int load(const char* path, Model* model) {
  TVMFFIAny loader, initialise, nothing;
  if (ffi_load_module(path, &model->library) != 0) return -1;
  if (ffi_module_function(&model->library, "vm_load_executable", &loader) != 0) return -1;
  int status = ffi_call(&loader, NULL, 0, &model->executable);
  ffi_release(&loader);
  if (status != 0 || ffi_module_function(&model->executable, "vm_initialization", &initialise) != 0) return -1;
  TVMFFIAny device[] = {ffi_int(kDLCPU), ffi_int(0), ffi_int(POOLED_ALLOCATOR)};
  status = ffi_call(&initialise, device, 3, &nothing);
  ffi_release(&initialise);
  if (status != 0) return -1;
  return ffi_module_function(&model->executable, "main", &model->function);
}

static Model* opened(Model* model, const char* library) {
  if (load(library, model) != 0) {
    fail(library);
    return NULL;
  }
  for (int i = 0; i < model->interface.input_count; i++) {
    if (make_tensor(&model->interface.inputs[i], &model->inputs[i]) == 0) continue;
    fail(model->interface.inputs[i].name);
    return NULL;
  }
  return model;
}

Model* model_open(const char* folder, int threads, int* status) {
  char described[PATH_MAX], library[PATH_MAX];
  *status = EXIT_USAGE;
  if (threads > 1) {
    log_line("a bundle's inferences have one thread: --threads is for a C library (--format c-library)");
    return NULL;
  }
  snprintf(described, sizeof described, "%s/interface.txt", folder);
  snprintf(library, sizeof library, "%s/model.so", folder);
  Model* model = calloc(1, sizeof *model);
  if (model == NULL || interface_read(described, &model->interface) != 0) {
    free(model);
    return NULL;
  }
  *status = EXIT_FAILED;
  if (opened(model, library) != NULL) return model;
  model_close(model);
  return NULL;
}

void model_close(Model* model) {
  ffi_release(&model->result);
  for (int i = 0; i < model->interface.input_count; i++) ffi_release(&model->inputs[i]);
  ffi_release(&model->function);
  ffi_release(&model->executable);
  ffi_release(&model->library);
  free(model);
}

const Interface* model_interface(const Model* model) { return &model->interface; }

static const TVMFFISeqCell* array_of(const TVMFFIAny* any) {
  return (const TVMFFISeqCell*)((const char*)any->v_obj + sizeof(TVMFFIObject));
}

static int result_count(const TVMFFIAny* result) {
  if (result->type_index == kTVMFFITensor) return 1;
  return result->type_index == kTVMFFIArray ? (int)array_of(result)->size : 0;
}

int model_run(Model* model, double* milliseconds) {
  TVMFFIAny arguments[MAX_TENSORS];
  const int inputs = model->interface.input_count, outputs = model->interface.output_count;
  ffi_release(&model->result);
  for (int i = 0; i < inputs; i++) arguments[i] = ffi_object(&model->inputs[i]);
  double start = seconds_now();
  int status = ffi_call(&model->function, arguments, inputs, &model->result);
  *milliseconds = (seconds_now() - start) * 1e3;
  if (status != 0) return fail("inference");
  if (result_count(&model->result) == outputs) return 0;
  log_line("the library gives %d outputs, interface.txt names %d", result_count(&model->result), outputs);
  return -1;
}

void* model_input(const Model* model, int index) { return data_of(&model->inputs[index]); }

static size_t bytes_of(const DLTensor* tensor) {
  size_t bytes = (size_t)(tensor->dtype.bits * tensor->dtype.lanes + 7) / 8;
  for (int i = 0; i < tensor->ndim; i++) bytes *= (size_t)tensor->shape[i];
  return bytes;
}

const void* model_output(const Model* model, int index) {
  const TVMFFIAny* output = &model->result;
  const size_t bytes = model->interface.outputs[index].bytes;
  if (output->type_index == kTVMFFIArray) output = (const TVMFFIAny*)array_of(output)->data + index;
  if (output->type_index == kTVMFFITensor && bytes_of(tensor_of(output)) == bytes) return data_of(output);
  log_line("output %d is not a tensor of %zu bytes, as interface.txt has it", index, bytes);
  return NULL;
}
