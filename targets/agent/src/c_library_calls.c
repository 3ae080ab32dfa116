#include "c_library_calls.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "board_state.h"
#include "c_library.h"
#include "ffi.h"
#include "session_process.h"

enum { MAX_LIBRARIES = 64, MAX_LINE = 4 * MAX_TEXT };

static CLibrary* loaded[MAX_LIBRARIES];
static int loaded_count;

static int fail(const char* what, const char* why) {
  char message[1024];
  snprintf(message, sizeof message, "%s%s", what, why);
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", message);
  return -1;
}

static int load(void* folder, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  char path[PATH_MAX], name[NAME_MAX + 1];
  if (count != 2 || ffi_get_text(&arguments[1], name, sizeof name) != 0) return fail("load wants a file and a name", "");
  if (session_file(&arguments[0], folder, path, sizeof path) != 0) return -1;
  if (loaded_count == MAX_LIBRARIES) return fail("this session has loaded too many C libraries", "");
  CLibrary* library = malloc(sizeof *library);
  const char* why = library == NULL ? "there is no memory for it" : c_library_open(path, name, 1, library);
  if (why != NULL) {
    free(library);
    return fail("the C library does not load: ", why);
  }
  *result = ffi_int(loaded_count);
  loaded[loaded_count++] = library;
  return 0;
}

/* The library whose number is the first argument; NULL, and an error, where there is none. */
static const CLibrary* library_of(const TVMFFIAny* arguments, int count) {
  int known = count > 0 && arguments->type_index == kTVMFFIInt && arguments->v_int64 >= 0 &&
              arguments->v_int64 < loaded_count;
  if (known) return loaded[arguments->v_int64];
  fail("this session has no such C library", "");
  return NULL;
}

static size_t add_lines(char* text, const char* role, const TensorInfo* tensors, int count) {
  size_t length = 0;
  for (int i = 0; i < count; i++) {
    length += (size_t)snprintf(text + length, MAX_LINE, "%s %s %s %s\n", role, tensors[i].name, tensors[i].dtype,
                               tensors[i].shape_text);
  }
  return length;
}

static int describe(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self;
  static char text[2 * MAX_TENSORS * MAX_LINE];
  const CLibrary* library = library_of(arguments, count);
  if (library == NULL) return -1;
  const Interface* interface = &library->interface;
  size_t length = add_lines(text, "input", interface->inputs, interface->input_count);
  length += add_lines(text + length, "output", interface->outputs, interface->output_count);
  TVMFFIByteArray bytes = {text, length};
  return TVMFFIStringFromByteArray(&bytes, result);
}

/* The tensor that an argument is; NULL where it is none in this process's memory. */
static const DLTensor* tensor_of(const TVMFFIAny* argument) {
  const DLTensor* tensor = NULL;
  if (argument->type_index == kTVMFFIDLTensorPtr) tensor = argument->v_ptr;
  if (argument->type_index == kTVMFFITensor) tensor = (const DLTensor*)((const char*)argument->v_obj + sizeof(TVMFFIObject));
  return tensor != NULL && tensor->device.device_type == kDLCPU ? tensor : NULL;
}

/* Where a tensor's numbers are, which must be `wanted` bytes; the library looks at the rest. */
static int target_of(const TVMFFIAny* argument, size_t wanted, LibraryTarget* target) {
  const DLTensor* tensor = tensor_of(argument);
  if (tensor == NULL) return fail("the network wants tensors on the CPU", "");
  size_t size = (size_t)(tensor->dtype.bits * tensor->dtype.lanes + 7) / 8;
  for (int i = 0; i < tensor->ndim; i++) size *= (size_t)tensor->shape[i];
  if (size != wanted) return fail("a tensor has another size than the network's", "");
  *target = (LibraryTarget){(char*)tensor->data + tensor->byte_offset, size};
  return 0;
}

typedef struct {
  const CLibrary* library;
  LibrarySource inputs[MAX_TENSORS];
  LibraryTarget outputs[MAX_TENSORS];
} Call;

static int read_call(const CLibrary* library, const TVMFFIAny* tensors, int count, Call* call) {
  const Interface* interface = &library->interface;
  call->library = library;
  if (count != interface->input_count + interface->output_count) {
    return fail("the network has another number of inputs and outputs", "");
  }
  for (int i = 0; i < interface->input_count; i++) {
    LibraryTarget found;
    if (target_of(&tensors[i], interface->inputs[i].bytes, &found) != 0) return -1;
    call->inputs[i] = (LibrarySource){found.data, found.size};
  }
  tensors += interface->input_count;
  for (int i = 0; i < interface->output_count; i++) {
    if (target_of(&tensors[i], interface->outputs[i].bytes, &call->outputs[i]) != 0) return -1;
  }
  return 0;
}

static int run_once(const Call* call) {
  const char* why = c_library_run(call->library, call->inputs, call->outputs);
  return why == NULL ? 0 : fail("the C library answers: ", why);
}

static int run(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self;
  Call call;
  const CLibrary* library = library_of(arguments, count);
  if (library == NULL || read_call(library, arguments + 1, count - 1, &call) != 0) return -1;
  *result = ffi_none();
  return run_once(&call);
}

static int run_timed(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self;
  Call call;
  const CLibrary* library = library_of(arguments, count);
  if (library == NULL) return -1;
  const DLTensor* times = count > 1 ? tensor_of(&arguments[1]) : NULL;
  if (times == NULL || times->ndim != 1 || times->dtype.code != kDLFloat || times->dtype.bits != 64) {
    return fail("time wants a tensor of float64 for the seconds", "");
  }
  if (read_call(library, arguments + 2, count - 2, &call) != 0 || run_once(&call) != 0) return -1;
  double* seconds = (double*)((char*)times->data + times->byte_offset);
  for (int64_t i = 0; i < times->shape[0]; i++) {
    board_sample();
    double start = seconds_now();
    if (run_once(&call) != 0) return -1;
    seconds[i] = seconds_now() - start;
  }
  *result = ffi_none();
  return 0;
}

int c_library_register(char* folder) {
  int failed = ffi_register("armature.c_library.load", load, folder);
  failed |= ffi_register("armature.c_library.interface", describe, NULL);
  failed |= ffi_register("armature.c_library.run", run, NULL);
  failed |= ffi_register("armature.c_library.time", run_timed, NULL);
  return failed;
}
