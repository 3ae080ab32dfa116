/* Uses a C library as its header says: OUTPUT INPUT... are files of raw numbers, one per input; the outputs go
   to OUTPUT, one after the other, by one thread; then by two, and so on. HEADER, MODEL and UPPER say which library
   it is. With SHARE_A_HANDLE in the environment two threads share a handle. Says the core whose kernels it takes. */
#define _POSIX_C_SOURCE 200112L
#include HEADER

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(MODEL, name)
#define CONSTANT(name) JOIN(UPPER, name)
#define EXPECT(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

/* glibc's own: with these, every allocation of the process is counted. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static int allocations;

void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  allocations++;
  return __libc_realloc(old, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
  allocations++;
  *result = __libc_memalign(alignment, size);
  return *result == NULL;
}

static NAME(_source) sources[CONSTANT(_INPUTS)];
static NAME(_target) targets[CONSTANT(_OUTPUTS)], again[CONSTANT(_OUTPUTS)];

static void *filled(const char *path, size_t size) {
  void *data = malloc(size);
  FILE *file = fopen(path, "rb");
  EXPECT(data != NULL && file != NULL && fread(data, 1, size, file) == size);
  fclose(file);
  return data;
}

static void prepare(char **paths) {
  size_t i;
  for (i = 0; i < CONSTANT(_INPUTS); i++) {
    sources[i].size = NAME(_input)(i)->size;
    sources[i].data = filled(paths[i], sources[i].size);
  }
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) {
    targets[i].size = again[i].size = NAME(_output)(i)->size;
    targets[i].data = malloc(targets[i].size);
    again[i].data = malloc(again[i].size + NAME(_output)(i)->alignment);
    EXPECT(targets[i].data != NULL && again[i].data != NULL);
    again[i].data = (char *)again[i].data + NAME(_output)(i)->alignment; /* aligned no better than it must */
  }
}

static void check_descriptors(void) {
  const NAME(_tensor) *input = NAME(_input)(0);
  size_t i, elements = 1;
  for (i = 0; i < input->rank; i++) elements *= (size_t)input->shape[i];
  EXPECT(strcmp(input->dtype, "float32") == 0 && input->size == 4 * elements);
  EXPECT(NAME(_input)(CONSTANT(_INPUTS)) == NULL && NAME(_output)(CONSTANT(_OUTPUTS)) == NULL);
  EXPECT(strstr(CONSTANT(_CORE), NAME(_core)(NULL)) != NULL && strlen(NAME(_version)()) > 0);
  EXPECT(input->scale == 1 && input->zero_point == 0);
  EXPECT(strlen(NAME(_message)(-1)) > 0 && strlen(NAME(_message)(1000)) > 0);
  EXPECT(strcmp(NAME(_message)(CONSTANT(_ERROR_CPU)), NAME(_message)(CONSTANT(_OK))) != 0);
}

static void check_create_errors(char *workspace, size_t size) {
  NAME(_handle) *handle = NULL;
  NAME(_options) options = {NULL, 0, 0, 0, NULL};
  EXPECT(NAME(_create)(NULL, NULL) == CONSTANT(_ERROR_NULL));
  options.workspace = NULL;
  options.workspace_size = size;
  EXPECT(NAME(_create)(&options, &handle) == CONSTANT(_ERROR_NULL) && handle == NULL);
  options.core = "no-core";
  EXPECT(NAME(_create)(&options, &handle) == CONSTANT(_ERROR_CORE) && handle == NULL);
  EXPECT(NAME(_workspace_size)(&options) == 0);
  options.core = NAME(_core)(NULL);
  options.workspace = workspace;
  options.workspace_size = size - 1;
  EXPECT(NAME(_create)(&options, &handle) == CONSTANT(_ERROR_SIZE) && handle == NULL);
  options.workspace = workspace + 16;
  options.workspace_size = size;
  EXPECT(NAME(_create)(&options, &handle) == CONSTANT(_ERROR_ALIGNMENT) && handle == NULL);
  EXPECT(NAME(_destroy)(NULL) == CONSTANT(_OK));
}

/* In a workspace of ours, what is no handle any more is known for one. */
static void check_ends(NAME(_handle) *handle) {
  EXPECT(NAME(_destroy)(handle) == CONSTANT(_OK));
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_ERROR_HANDLE));
  EXPECT(NAME(_destroy)(handle) == CONSTANT(_ERROR_HANDLE));
}

static void check_run_errors(NAME(_handle) *handle) {
  const NAME(_source) source = sources[0];
  const NAME(_target) target = targets[0];
  EXPECT(NAME(_run)(NULL, sources, targets) == CONSTANT(_ERROR_NULL));
  EXPECT(NAME(_run)(handle, NULL, targets) == CONSTANT(_ERROR_NULL));
  EXPECT(NAME(_run)(handle, sources, NULL) == CONSTANT(_ERROR_NULL));
  sources[0].data = NULL;
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_ERROR_NULL));
  sources[0].data = (const char *)source.data + 1;
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_ERROR_ALIGNMENT));
  sources[0] = source;
  sources[0].size--;
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_ERROR_SIZE));
  sources[0] = source;
  targets[0].data = NULL;
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_ERROR_NULL));
  targets[0] = target;
  targets[0].size++;
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_ERROR_SIZE));
  targets[0] = target;
}

/* What two threads that share a handle see. */
typedef struct {
  NAME(_handle) *handle;
  const NAME(_target) *outputs;
  int runs, refusals;
} sharer;

static void *run_often(void *argument) {
  sharer *self = argument;
  int i, error;
  for (i = 0; i < 400; i++) {
    error = NAME(_run)(self->handle, sources, self->outputs);
    EXPECT(error == CONSTANT(_OK) || error == CONSTANT(_ERROR_BUSY));
    if (error) self->refusals++;
    else self->runs++;
  }
  return NULL;
}

static void check_two_threads(NAME(_handle) *handle) {
  sharer ours = {NULL, NULL, 0, 0}, theirs = {NULL, NULL, 0, 0};
  pthread_t other;
  ours.handle = theirs.handle = handle;
  ours.outputs = targets;
  theirs.outputs = again;
  EXPECT(pthread_create(&other, NULL, run_often, &theirs) == 0);
  run_often(&ours);
  EXPECT(pthread_join(other, NULL) == 0);
  EXPECT(ours.runs + theirs.runs > 0 && ours.refusals + theirs.refusals > 0);
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_OK));
}

/* Threads of this process. */
static int living(void) {
  DIR *tasks = opendir("/proc/self/task");
  int found = 0;
  EXPECT(tasks != NULL);
  while (readdir(tasks) != NULL) found++;
  closedir(tasks);
  return found - 2; /* . and .. */
}

/* A thread that was joined may take a moment to be gone. */
static void expect_living(int count) {
  int i;
  for (i = 0; i < 1000 && living() != count; i++) poll(NULL, 0, 10);
  EXPECT(living() == count);
}

static void check_same(void) {
  size_t i;
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) EXPECT(memcmp(targets[i].data, again[i].data, targets[i].size) == 0);
}

static void forget(void) {
  size_t i;
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) memset(again[i].data, 0xff, again[i].size);
}

/* A process forked while there are threads has but one, and can run and end the handle. */
static void check_fork(NAME(_handle) *handle) {
  int status;
  const pid_t child = fork();
  if (child == 0) {
    forget();
    EXPECT(NAME(_threads)(handle) == 1);
    EXPECT(NAME(_run)(handle, sources, again) == CONSTANT(_OK));
    check_same();
    EXPECT(NAME(_destroy)(handle) == CONSTANT(_OK));
    _exit(0);
  }
  EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void check_threads(int threads) {
  NAME(_handle) *handle = NULL;
  NAME(_options) options = {NULL, 0, 0, 0, NULL};
  const size_t serial = NAME(_workspace_size)(NULL);
  const int before = living();
  char *workspace;
  size_t size, i;
  int run, counted;
  options.threads = threads;
  options.pin = threads % 2;
  size = NAME(_workspace_size)(&options);
  EXPECT(threads == 1 ? size == serial : size >= serial);
  EXPECT(posix_memalign(&options.workspace, CONSTANT(_WORKSPACE_ALIGNMENT), size + 64) == 0);
  options.workspace_size = size;
  workspace = options.workspace;
  memset(workspace, 0xff, size + 64);
  EXPECT(NAME(_create)(&options, &handle) == CONSTANT(_OK));
  EXPECT(NAME(_threads)(handle) == threads && living() == before + threads - 1);
  EXPECT(NAME(_pinned)(handle) >= 0 && (options.pin || NAME(_pinned)(handle) == 0));
  counted = allocations;
  for (run = 0; run < 3; run++) {
    forget();
    EXPECT(NAME(_run)(handle, sources, again) == CONSTANT(_OK));
    check_same();
  }
  EXPECT(allocations == counted);
  if (threads > 1) check_fork(handle);
  for (i = 0; i < 64; i++) EXPECT((unsigned char)workspace[size + i] == 0xff);
  EXPECT(NAME(_destroy)(handle) == CONSTANT(_OK));
  expect_living(before);
  free(workspace);
}

int main(int count, char **arguments) {
  const size_t size = NAME(_workspace_size)(NULL);
  NAME(_handle) *own = NULL, *lent = NULL;
  NAME(_options) options = {NULL, 0, 0, 0, NULL};
  void *workspace = NULL;
  FILE *file;
  size_t i;
  int before, error, threads;

  before = allocations;
  error = NAME(_create)(NULL, &own);
  if (error == CONSTANT(_ERROR_CPU)) {
    fprintf(stderr, "%s\n", NAME(_message)(error));
    return 3;
  }
  EXPECT(allocations == before + 1); /* of the workspace, so the count sees what the library asks for */
  printf("%s\n", NAME(_core)(own));
  EXPECT(error == CONSTANT(_OK) && count == 2 + CONSTANT(_INPUTS));
  prepare(arguments + 2);
  check_descriptors();
  EXPECT(posix_memalign(&workspace, CONSTANT(_WORKSPACE_ALIGNMENT), size + 64) == 0);
  check_create_errors(workspace, size);
  check_run_errors(own);

  options.workspace = workspace;
  options.workspace_size = size;
  memset(workspace, 0xff, size + 64); /* not a number, if it were read */
  before = allocations;
  EXPECT(NAME(_create)(&options, &lent) == CONSTANT(_OK) && own != lent);
  EXPECT(NAME(_run)(own, sources, targets) == CONSTANT(_OK));
  EXPECT(NAME(_run)(lent, sources, again) == CONSTANT(_OK));
  EXPECT(NAME(_run)(own, sources, targets) == CONSTANT(_OK));
  EXPECT(allocations == before);
  for (i = 0; i < 64; i++) EXPECT(((unsigned char *)workspace)[size + i] == 0xff);
  if (getenv("SHARE_A_HANDLE") != NULL) check_two_threads(own);
  EXPECT(NAME(_destroy)(own) == CONSTANT(_OK));
  check_ends(lent);
  check_same();
  for (threads = 1; threads <= CONSTANT(_THREADS); threads++) check_threads(threads);

  file = fopen(arguments[1], "wb");
  EXPECT(file != NULL);
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) {
    EXPECT(fwrite(targets[i].data, 1, targets[i].size, file) == targets[i].size);
  }
  return fclose(file) != 0;
}
