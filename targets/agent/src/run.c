/* `run`: the network of the folder that the program lies in, from the shell. */
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
    "usage: run --input FILE [--input FILE ...] [--repeat N] [--output FILE] [--threads N] [--json]\n"
    "\n"
    "Runs the network of the folder this program lies in.\n"
    "\n"
    "  --input FILE   one file per input, in order: raw little-endian numbers, contiguous\n"
    "  --repeat N     run it N times (default 1)\n"
    "  --output FILE  where the outputs go, one after the other, in the same form\n"
    "  --threads N    so many share an inference (default 1), if it is a C library's\n"
    "  --json         print {\"milliseconds\": [...]}, one number per inference\n"
    "  --help         this text\n"
    "\n"
    "Exit codes: 0 done, 1 the network failed, 2 the arguments cannot be used.\n";

typedef struct {
  const char* inputs[MAX_TENSORS];
  int input_count;
  const char* output;
  int repeat, threads;
  int json, help;
} Options;

static int parse_number(const char* option, const char* text, int* number) {
  char* end;
  errno = 0;
  long found = strtol(text, &end, 10);
  *number = (int)found;
  if (end != text && *end == '\0' && errno == 0 && found >= 1 && found <= INT_MAX) return 0;
  log_line("%s wants a number, at least 1, not '%s'", option, text);
  return -1;
}

static int parse_options(int argc, char** argv, Options* options) {
  static const struct option kLong[] = {
      {"input", required_argument, NULL, 'i'}, {"output", required_argument, NULL, 'o'},
      {"repeat", required_argument, NULL, 'r'}, {"threads", required_argument, NULL, 't'},
      {"json", no_argument, NULL, 'j'},        {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0}};
  int letter;
  while ((letter = getopt_long(argc, argv, "", kLong, NULL)) != -1) {
    if (letter == 'i') {
      if (options->input_count == MAX_TENSORS) return -1;
      options->inputs[options->input_count++] = optarg;
    } else if (letter == 'r') {
      if (parse_number("--repeat", optarg, &options->repeat) != 0) return -1;
    } else if (letter == 't') {
      if (parse_number("--threads", optarg, &options->threads) != 0) return -1;
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

/* The folder that this program lies in, in `path`; NULL when it is not known. */
static const char* own_folder(char* path, size_t size) {
  ssize_t length = readlink("/proc/self/exe", path, size - 1);
  if (length < 0) {
    log_line("/proc/self/exe: %s", strerror(errno));
    return NULL;
  }
  path[length] = '\0';
  return dirname(path);
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

static int read_inputs(const Options* options, Model* model) {
  const Interface* interface = model_interface(model);
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

static int write_outputs(const char* path, const Model* model) {
  const Interface* interface = model_interface(model);
  const void* outputs[MAX_TENSORS];
  for (int i = 0; i < interface->output_count; i++) {
    outputs[i] = model_output(model, i);
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

static void print_times(const double* milliseconds, int count) {
  printf("{\"milliseconds\": [");
  for (int i = 0; i < count; i++) printf("%s%.6f", i == 0 ? "" : ", ", milliseconds[i]);
  printf("]}\n");
}

static int run_network(const Options* options, Model* model) {
  if (read_inputs(options, model) != 0) return EXIT_USAGE;
  double* milliseconds = calloc((size_t)options->repeat, sizeof *milliseconds);
  if (milliseconds == NULL) return EXIT_FAILED;
  int status = EXIT_DONE;
  for (int i = 0; status == EXIT_DONE && i < options->repeat; i++) {
    if (model_run(model, &milliseconds[i]) != 0) status = EXIT_FAILED;
  }
  if (status == EXIT_DONE && options->output != NULL && write_outputs(options->output, model) != 0) {
    status = EXIT_FAILED;
  }
  if (status == EXIT_DONE && options->json) print_times(milliseconds, options->repeat);
  free(milliseconds);
  return status;
}

int run_main(int argc, char** argv) {
  Options options = {.repeat = 1, .threads = 1};
  if (parse_options(argc, argv, &options) != 0) return EXIT_USAGE;
  if (options.help) {
    printf("%s%s", kHelp, kOtherRoles);
    return EXIT_DONE;
  }
  char path[PATH_MAX];
  const char* folder = own_folder(path, sizeof path);
  if (folder == NULL) return EXIT_FAILED;
  int status;
  Model* model = model_open(folder, options.threads, &status);
  if (model == NULL) return status;
  status = run_network(&options, model);
  model_close(model);
  return status;
}
