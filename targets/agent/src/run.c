/* `run`: one bundle, from the shell. The program lies beside model.so and interface.txt. */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "interface.h"
#include "model.h"

static const char kHelp[] =
    "usage: run --input FILE [--input FILE ...] [--repeat N] [--output FILE] [--json]\n"
    "\n"
    "Runs the network of the folder this program lies in.\n"
    "\n"
    "  --input FILE   one file per input, in order: raw little-endian numbers, contiguous\n"
    "  --repeat N     run it N times (default 1)\n"
    "  --output FILE  where the outputs go, one after the other, in the same form\n"
    "  --json         print {\"milliseconds\": [...]}, one number per inference\n"
    "  --help         this text\n"
    "\n"
    "Exit codes: 0 done, 1 the network failed, 2 the arguments cannot be used.\n"
    "Other roles: run serve --help, run info.\n";

typedef struct {
  const char* inputs[MAX_TENSORS];
  int input_count;
  const char* output;
  long repeat;
  int json, help;
} Options;

static int parse_repeat(const char* text, long* repeat) {
  char* end;
  errno = 0;
  *repeat = strtol(text, &end, 10);
  if (end != text && *end == '\0' && errno == 0 && *repeat >= 1 && *repeat <= INT_MAX) return 0;
  log_line("--repeat wants a number of inferences, at least 1, not '%s'", text);
  return -1;
}

static int parse_options(int argc, char** argv, Options* options) {
  static const struct option kLong[] = {
      {"input", required_argument, NULL, 'i'}, {"output", required_argument, NULL, 'o'},
      {"repeat", required_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
      {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  int letter;
  while ((letter = getopt_long(argc, argv, "", kLong, NULL)) != -1) {
    if (letter == 'i') {
      if (options->input_count == MAX_TENSORS) return -1;
      options->inputs[options->input_count++] = optarg;
    } else if (letter == 'r') {
      if (parse_repeat(optarg, &options->repeat) != 0) return -1;
    } else if (letter == 'o') {
      options->output = optarg;
    } else if (letter == 'j') {
      options->json = 1;
    } else if (letter == 'h') {
      options->help = 1;
    } else {
      return -1;
    }
  }
  if (optind == argc) return 0;
  log_line("unexpected argument '%s'; see --help", argv[optind]);
  return -1;
}

/* PATH of `name` in the folder this program lies in. */
static int beside_program(const char* name, char* path, size_t size) {
  char program[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length < 0) return -1;
  program[length] = '\0';
  return snprintf(path, size, "%s/%s", dirname(program), name) < (int)size ? 0 : -1;
}

/* Fills `data` from the file, which must hold exactly the tensor's bytes. */
static int read_input(const char* path, const TensorInfo* tensor, void* data) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    log_line("%s: %s", path, strerror(errno));
    return -1;
  }
  size_t got = fread(data, 1, tensor->bytes, file);
  int longer = fgetc(file) != EOF;
  fclose(file);
  if (got == tensor->bytes && !longer) return 0;
  log_line("%s: input '%s' wants %zu bytes (%s %s), this file has %s%zu", path, tensor->name, tensor->bytes,
           tensor->dtype, tensor->shape_text, longer ? "more than " : "", got);
  return -1;
}

static int read_inputs(const Options* options, const Interface* interface, Model* model) {
  if (options->input_count != interface->input_count) {
    log_line("the network has %d input%s, --input was given %d times; see --help", interface->input_count,
             interface->input_count == 1 ? "" : "s", options->input_count);
    return -1;
  }
  for (int i = 0; i < interface->input_count; i++) {
    if (read_input(options->inputs[i], &interface->inputs[i], model_input(model, i)) != 0) return -1;
  }
  return 0;
}

static int write_outputs(const char* path, const Interface* interface, const Model* model) {
  const void* outputs[MAX_TENSORS];
  for (int i = 0; i < interface->output_count; i++) {
    outputs[i] = model_output(model, i, interface->outputs[i].bytes);
    if (outputs[i] == NULL) return -1;
  }
  FILE* file = fopen(path, "wb");
  int failed = file == NULL;
  for (int i = 0; !failed && i < interface->output_count; i++) {
    failed = fwrite(outputs[i], interface->outputs[i].bytes, 1, file) != 1;
  }
  if (file != NULL) failed |= fclose(file) != 0;
  if (failed) log_line("%s: %s", path, strerror(errno));
  return failed ? -1 : 0;
}

static void print_times(const double* milliseconds, long count) {
  printf("{\"milliseconds\": [");
  for (long i = 0; i < count; i++) printf("%s%.6f", i == 0 ? "" : ", ", milliseconds[i]);
  printf("]}\n");
}

static int run_network(const Options* options, const Interface* interface, Model* model) {
  if (read_inputs(options, interface, model) != 0) return EXIT_USAGE;
  double* milliseconds = calloc((size_t)options->repeat, sizeof *milliseconds);
  if (milliseconds == NULL) return EXIT_FAILED;
  int status = EXIT_DONE;
  for (long i = 0; status == EXIT_DONE && i < options->repeat; i++) {
    if (model_run(model, &milliseconds[i]) != 0) status = EXIT_FAILED;
  }
  if (status == EXIT_DONE && options->output != NULL && write_outputs(options->output, interface, model) != 0) {
    status = EXIT_FAILED;
  }
  if (status == EXIT_DONE && options->json) print_times(milliseconds, options->repeat);
  free(milliseconds);
  return status;
}

int run_main(int argc, char** argv) {
  Options options = {.repeat = 1};
  if (parse_options(argc, argv, &options) != 0) return EXIT_USAGE;
  if (options.help) {
    fputs(kHelp, stdout);
    return EXIT_DONE;
  }
  char interface_path[PATH_MAX], library_path[PATH_MAX];
  if (beside_program("interface.txt", interface_path, sizeof interface_path) != 0) return EXIT_FAILED;
  if (beside_program("model.so", library_path, sizeof library_path) != 0) return EXIT_FAILED;
  Interface interface;
  if (interface_read(interface_path, &interface) != 0) return EXIT_USAGE;
  Model model;
  if (model_open(library_path, &interface, &model) != 0) return EXIT_FAILED;
  int status = run_network(&options, &interface, &model);
  model_close(&model);
  return status;
}
