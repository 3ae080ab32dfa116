/* Runs one kernel once, on the emulated board, with the caches as they are in the midst of a network.
 *
 *   kernel ARGUMENTS OUTPUT FLUSH_BYTES
 *
 * ARGUMENTS: for each tensor a line "ROLE TYPE BITS DIM...", of the roles `constant`, `data`, `output` and
 * `workspace`, an empty line, and then the bytes of each constant and data tensor, one after the other. The
 * first output is written to OUTPUT. Before the kernel runs, FLUSH_BYTES are walked through, and then
 * everything but the constants: what the kernel before has just written is near, its weights are not.
 */
#include <dlpack/dlpack.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tvm/ffi/c_api.h>

enum { MAX_TENSORS = 32, MAX_DIMENSIONS = 8, LINE = 64, MAX_LINE = 256 };

extern int32_t __tvm_ffi_kernel(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result);

static struct {
  DLTensor tensor;
  int64_t shape[MAX_DIMENSIONS];
  size_t bytes;
  char role;
} parameters[MAX_TENSORS];
static int count;

/* What the kernel's own checks of its arguments call. */
void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t number) {
  fprintf(stderr, "%s: ", kind);
  for (int32_t i = 0; i < number; i++) fputs(parts[i], stderr);
  fputc('\n', stderr);
}

static void die(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(2);
}

static void read_line(char* line) {
  if (count == MAX_TENSORS) die("too many tensors");
  int type, bits, used;
  char role[16];
  if (sscanf(line, "%15s %d %d%n", role, &type, &bits, &used) != 3) die("a tensor's line cannot be read");
  DLTensor* tensor = &parameters[count].tensor;
  size_t elements = 1;
  char* next = line + used;
  for (;;) {
    char* end;
    int64_t extent = strtoll(next, &end, 10);
    if (end == next) break;
    if (tensor->ndim == MAX_DIMENSIONS) die("too many dimensions");
    parameters[count].shape[tensor->ndim++] = extent;
    elements *= (size_t)extent;
    next = end;
  }
  parameters[count].role = role[0];
  parameters[count].bytes = elements * (size_t)(bits / 8);
  tensor->shape = parameters[count].shape;
  tensor->dtype = (DLDataType){(uint8_t)type, (uint8_t)bits, 1};
  tensor->device = (DLDevice){kDLCPU, 0};
  size_t room = (parameters[count].bytes + 2 * LINE) / LINE * LINE;
  tensor->data = aligned_alloc(LINE, room);
  if (tensor->data == NULL) die("not enough memory");
  memset(tensor->data, 0xff, room); /* NaN in what the kernel does not write */
  count++;
}

static void read_arguments(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) die("cannot read the arguments");
  char line[MAX_LINE];
  while (fgets(line, sizeof line, file) != NULL && line[0] != '\n') read_line(line);
  for (int i = 0; i < count; i++) {
    if (parameters[i].role != 'c' && parameters[i].role != 'd') continue;
    if (fread(parameters[i].tensor.data, 1, parameters[i].bytes, file) != parameters[i].bytes) {
      die("the arguments end too early");
    }
  }
  fclose(file);
}

static void walk(const volatile char* data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += LINE) (void)data[at];
}

static void set_caches(size_t flush) {
  char* other = malloc(flush);
  if (other == NULL) die("not enough memory");
  walk(other, flush);
  free(other);
  static const char order[] = "wod";
  for (const char* role = order; *role != 0; role++) {
    for (int i = count - 1; i >= 0; i--) { /* the data come first, and last here: they are the nearest */
      if (parameters[i].role == *role) walk(parameters[i].tensor.data, parameters[i].bytes);
    }
  }
}

static void write_output(const char* path) {
  FILE* file = fopen(path, "wb");
  if (file == NULL) die("cannot write the output");
  for (int i = 0; i < count; i++) {
    if (parameters[i].role != 'o') continue;
    if (fwrite(parameters[i].tensor.data, 1, parameters[i].bytes, file) != parameters[i].bytes) {
      die("cannot write the output");
    }
    break;
  }
  if (fclose(file) != 0) die("cannot write the output");
}

int main(int argc, char** argv) {
  if (argc != 4) die("usage: kernel ARGUMENTS OUTPUT FLUSH_BYTES");
  read_arguments(argv[1]);
  TVMFFIAny arguments[MAX_TENSORS], result;
  memset(arguments, 0, sizeof arguments);
  memset(&result, 0, sizeof result);
  for (int i = 0; i < count; i++) {
    arguments[i].type_index = kTVMFFIDLTensorPtr;
    arguments[i].v_ptr = &parameters[i].tensor;
  }
  set_caches(strtoul(argv[3], NULL, 10));
  if (__tvm_ffi_kernel(NULL, arguments, count, &result) != 0) return 1;
  write_output(argv[2]);
  return 0;
}
