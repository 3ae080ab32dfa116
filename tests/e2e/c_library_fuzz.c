/* Calls a C library with arguments at random, right and wrong, and expects of each call the error code that the
   header promises: SEED CALLS [threads]. With `threads` it only has several threads share handles.

   Buffers lie between pages that nobody may touch, at random at the one or at the other; workspaces of ours too.
   HEADER, MODEL and UPPER say which library it is. Numbers must come out the same each time. */
#define _DEFAULT_SOURCE
#include HEADER

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(MODEL, name)
#define CONSTANT(name) JOIN(UPPER, name)
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define EXPECT(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "call %lu, line %d: %s\n", calls, __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

enum { PAGE = 4096, HANDLES = 6, KINDS = 64 };

static unsigned long calls;
static uint64_t state;
static unsigned answers[KINDS]; /* how often each error code came */

/* xorshift64* */
static uint64_t draw(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * UINT64_C(2685821657736338717);
}

static size_t below(size_t limit) { return (size_t)(draw() >> 11) % limit; }

static int chance(size_t of) { return below(of) == 0; }

static void expect(int answer, int promised) {
  if (answer != promised)
    fprintf(stderr, "call %lu: %s, not %s\n", calls, NAME(_message)(answer), NAME(_message)(promised));
  EXPECT(answer == promised);
  answers[answer]++;
}

/* Memory of `size` bytes with a page before and a page behind it that cannot be touched. */
typedef struct {
  unsigned char *pages;
  size_t size, room;
} guarded;

static guarded guard(size_t size) {
  guarded made;
  made.size = size;
  made.room = (size + PAGE - 1) / PAGE * PAGE + PAGE;
  made.pages = mmap(NULL, made.room + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(made.pages != MAP_FAILED);
  EXPECT(mprotect(made.pages + PAGE, made.room, PROT_READ | PROT_WRITE) == 0);
  return made;
}

/* A place for `size` bytes in it, at a multiple of `alignment`: as far up as may be, or at the start. */
static unsigned char *place(const guarded *memory, size_t size, size_t alignment) {
  size_t last = (memory->room - size) / alignment * alignment;
  return memory->pages + PAGE + (chance(2) ? last : 0);
}

typedef struct {
  NAME(_handle) *handle;
  int lent;       /* its workspace is `workspaces` of the same number */
  int alive, was; /* whether it is a handle now, and whether its memory is still there */
} slot;

static slot slots[HANDLES];
static guarded workspaces[HANDLES], inputs[CONSTANT(_INPUTS)], outputs[CONSTANT(_OUTPUTS)];
static unsigned char *images[CONSTANT(_INPUTS)], *results[CONSTANT(_OUTPUTS)];

static void forget(slot *old) {
  memset(old, 0, sizeof *old);
}

/* Mostly as many as there may be, and then any number at all. */
static int any_threads(void) {
  return chance(8) ? (int)(uint32_t)draw() : (int)below(CONSTANT(_THREADS) + 2) - 1;
}

static void create_own(slot *made) {
  NAME(_options) options;
  NAME(_handle) *handle = (NAME(_handle) *)&options;
  memset(&options, 0, sizeof options);
  options.threads = any_threads();
  options.pin = chance(8);
  if (chance(4)) {
    options.workspace_size = 1 + below(1000000);
    expect(NAME(_create)(&options, &handle), CONSTANT(_ERROR_NULL));
    EXPECT(handle == NULL);
    return;
  }
  if (chance(4)) {
    expect(NAME(_create)(chance(2) ? &options : NULL, NULL), CONSTANT(_ERROR_NULL));
    return;
  }
  expect(NAME(_create)(chance(2) ? &options : NULL, &handle), CONSTANT(_OK));
  EXPECT(handle != NULL && (uintptr_t)handle % CONSTANT(_WORKSPACE_ALIGNMENT) == 0);
  made->handle = handle;
  made->alive = 1;
}

static void create_lent(slot *made) {
  const size_t number = (size_t)(made - slots);
  size_t needed;
  NAME(_options) options;
  NAME(_handle) *handle = (NAME(_handle) *)&options;
  size_t skew = chance(4) ? 1 + below(CONSTANT(_WORKSPACE_ALIGNMENT) - 1) : 0;
  memset(&options, 0, sizeof options);
  options.threads = any_threads();
  options.pin = chance(8);
  needed = NAME(_workspace_size)(&options);
  options.workspace = place(&workspaces[number], needed, CONSTANT(_WORKSPACE_ALIGNMENT)) + skew;
  options.workspace_size = chance(4) ? below(needed) : needed + (chance(2) ? below(1000) : 0);
  if (options.workspace_size < needed) {
    expect(NAME(_create)(&options, &handle), CONSTANT(_ERROR_SIZE));
    EXPECT(handle == NULL);
  } else if (skew) {
    expect(NAME(_create)(&options, &handle), CONSTANT(_ERROR_ALIGNMENT));
    EXPECT(handle == NULL);
  } else {
    memset(options.workspace, (int)below(256), needed);
    expect(NAME(_create)(&options, &handle), CONSTANT(_OK));
    EXPECT((void *)handle == options.workspace);
    made->handle = handle;
    made->lent = made->alive = made->was = 1;
  }
}

/* Spoils one buffer or none, and says which error that is. */
static int spoil(const void **data, size_t *size, size_t alignment) {
  switch (below(8)) {
    case 0:
      *data = NULL;
      return CONSTANT(_ERROR_NULL);
    case 1:
      *size = chance(2) ? below(*size) : *size + 1 + (size_t)(draw() >> 16);
      return CONSTANT(_ERROR_SIZE);
    case 2:
      if (alignment == 1) return CONSTANT(_OK);
      *data = (const unsigned char *)*data + 1 + below(alignment - 1);
      return CONSTANT(_ERROR_ALIGNMENT);
    default:
      return CONSTANT(_OK);
  }
}

static void fill(NAME(_source) *sources, NAME(_target) *targets) {
  size_t i;
  for (i = 0; i < CONSTANT(_INPUTS); i++) {
    sources[i].size = NAME(_input)(i)->size;
    sources[i].data = place(&inputs[i], sources[i].size, NAME(_input)(i)->alignment);
    memmove((void *)(uintptr_t)sources[i].data, images[i], sources[i].size);
  }
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) {
    targets[i].size = NAME(_output)(i)->size;
    targets[i].data = place(&outputs[i], targets[i].size, NAME(_output)(i)->alignment);
    memset(targets[i].data, 0xff, targets[i].size);
  }
}

static void run(slot *chosen) {
  NAME(_source) sources[CONSTANT(_INPUTS)];
  NAME(_target) targets[CONSTANT(_OUTPUTS)];
  NAME(_handle) *handle = chosen->handle;
  const void *data;
  int promised = CONSTANT(_OK);
  size_t i;
  fill(sources, targets);
  for (i = 0; i < CONSTANT(_INPUTS) && !promised; i++)
    promised = spoil(&sources[i].data, &sources[i].size, NAME(_input)(i)->alignment);
  for (i = 0; i < CONSTANT(_OUTPUTS) && !promised; i++) {
    data = targets[i].data;
    promised = spoil(&data, &targets[i].size, NAME(_output)(i)->alignment);
    targets[i].data = (void *)(uintptr_t)data;
  }
  if (!chosen->alive) promised = CONSTANT(_ERROR_HANDLE);
  if (chosen->alive && chance(8)) {
    handle = (NAME(_handle) *)((uintptr_t)handle + 1 + below(CONSTANT(_WORKSPACE_ALIGNMENT) - 1));
    promised = CONSTANT(_ERROR_HANDLE);
  }
  if (handle == NULL) promised = CONSTANT(_ERROR_NULL);
  if (chance(16)) {
    promised = CONSTANT(_ERROR_NULL);
    expect(NAME(_run)(handle, chance(2) ? sources : NULL, NULL), promised);
    expect(NAME(_run)(handle, NULL, targets), promised);
    return;
  }
  expect(NAME(_run)(handle, sources, targets), promised);
  for (i = 0; i < CONSTANT(_OUTPUTS) && !promised; i++)
    EXPECT(memcmp(targets[i].data, results[i], targets[i].size) == 0);
}

static void destroy(slot *chosen) {
  if (chosen->handle == NULL || chosen->alive) {
    expect(NAME(_destroy)(chosen->handle), CONSTANT(_OK));
    chosen->alive = 0;
    if (!chosen->was) forget(chosen); /* its memory was freed */
  } else {
    expect(NAME(_destroy)(chosen->handle), CONSTANT(_ERROR_HANDLE));
  }
}

static void describe(void) {
  const size_t index = chance(2) ? below(4) : (size_t)draw();
  const slot *chosen = &slots[below(HANDLES)];
  const int threads = NAME(_threads)(chosen->handle), pinned = NAME(_pinned)(chosen->handle);
  EXPECT(chosen->alive ? threads >= 1 && threads <= CONSTANT(_THREADS) && pinned >= 0 : threads == 0 && pinned == 0);
  EXPECT((NAME(_input)(index) == NULL) == (index >= CONSTANT(_INPUTS)));
  EXPECT((NAME(_output)(index) == NULL) == (index >= CONSTANT(_OUTPUTS)));
  EXPECT(strlen(NAME(_message)(chance(2) ? (int)below(20) - 5 : (int)(uint32_t)draw())) > 0);
}

/* What a thread that shares a handle sees. */
typedef struct {
  NAME(_handle) *handle;
  NAME(_source) sources[CONSTANT(_INPUTS)];
  NAME(_target) targets[CONSTANT(_OUTPUTS)];
  int runs, ends, other;
} sharer;

static void *share(void *argument) {
  sharer *self = argument;
  int i, answer;
  for (i = 0; i < 40; i++) {
    answer = NAME(_run)(self->handle, self->sources, self->targets);
    self->runs += answer == CONSTANT(_OK);
    self->other += answer != CONSTANT(_OK) && answer != CONSTANT(_ERROR_BUSY) && answer != CONSTANT(_ERROR_HANDLE);
  }
  answer = NAME(_destroy)(self->handle);
  self->ends += answer == CONSTANT(_OK);
  self->other += answer != CONSTANT(_OK) && answer != CONSTANT(_ERROR_BUSY) && answer != CONSTANT(_ERROR_HANDLE);
  return NULL;
}

/* Three threads run a handle in a workspace of ours, and each ends it when it has done enough. */
static void share_a_handle(slot *made) {
  static guarded apart[3][CONSTANT(_OUTPUTS)];
  size_t needed;
  sharer sharers[3];
  pthread_t threads[3];
  NAME(_options) options;
  size_t i, k;
  int runs = 0, ends = 0;
  memset(&options, 0, sizeof options);
  memset(sharers, 0, sizeof sharers);
  options.threads = 2;
  options.workspace_size = needed = NAME(_workspace_size)(&options);
  options.workspace = place(&workspaces[made - slots], needed, CONSTANT(_WORKSPACE_ALIGNMENT));
  expect(NAME(_create)(&options, &made->handle), CONSTANT(_OK));
  for (i = 0; i < COUNT(sharers); i++) {
    fill(sharers[i].sources, sharers[i].targets);
    sharers[i].handle = made->handle;
    for (k = 0; k < CONSTANT(_OUTPUTS); k++) {
      if (apart[i][k].pages == NULL) apart[i][k] = guard(NAME(_output)(k)->size);
      sharers[i].targets[k].data = place(&apart[i][k], NAME(_output)(k)->size, NAME(_output)(k)->alignment);
    }
  }
  for (i = 0; i < CONSTANT(_INPUTS); i++) /* filled three times, at one end or the other: read the last */
    sharers[0].sources[i] = sharers[1].sources[i] = sharers[2].sources[i];
  for (i = 0; i < COUNT(sharers); i++) EXPECT(pthread_create(&threads[i], NULL, share, &sharers[i]) == 0);
  for (i = 0; i < COUNT(sharers); i++) {
    EXPECT(pthread_join(threads[i], NULL) == 0);
    EXPECT(sharers[i].other == 0);
    runs += sharers[i].runs;
    ends += sharers[i].ends;
    for (k = 0; k < CONSTANT(_OUTPUTS) && sharers[i].runs; k++)
      EXPECT(memcmp(sharers[i].targets[k].data, results[k], NAME(_output)(k)->size) == 0);
  }
  EXPECT(runs > 0 && ends <= 1);
  if (!ends) expect(NAME(_destroy)(made->handle), CONSTANT(_OK));
  made->lent = made->was = 1;
}

static void prepare(void) {
  NAME(_source) sources[CONSTANT(_INPUTS)];
  NAME(_target) targets[CONSTANT(_OUTPUTS)];
  NAME(_handle) *handle = NULL;
  NAME(_options) most;
  size_t i, k;
  for (i = 0; i < CONSTANT(_INPUTS); i++) {
    const NAME(_tensor) *tensor = NAME(_input)(i);
    inputs[i] = guard(tensor->size);
    images[i] = malloc(tensor->size);
    EXPECT(images[i] != NULL && strcmp(tensor->dtype, "float32") == 0);
    for (k = 0; k < tensor->size / sizeof(float); k++) ((float *)images[i])[k] = (float)below(2001) / 1000 - 1;
  }
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) {
    outputs[i] = guard(NAME(_output)(i)->size);
    results[i] = malloc(NAME(_output)(i)->size);
    EXPECT(results[i] != NULL);
  }
  memset(&most, 0, sizeof most);
  most.threads = CONSTANT(_THREADS);
  for (i = 0; i < HANDLES; i++)
    workspaces[i] = guard(NAME(_workspace_size)(&most) + CONSTANT(_WORKSPACE_ALIGNMENT));
  fill(sources, targets);
  EXPECT(NAME(_create)(NULL, &handle) == CONSTANT(_OK));
  EXPECT(NAME(_run)(handle, sources, targets) == CONSTANT(_OK));
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) memcpy(results[i], targets[i].data, targets[i].size);
  EXPECT(NAME(_destroy)(handle) == CONSTANT(_OK));
}

static void call_at_random(void) {
  slot *chosen = &slots[below(HANDLES)];
  switch (below(8)) {
    case 0:
    case 1:
      if (chosen->alive) return;
      forget(chosen);
      if (chance(2)) create_own(chosen);
      else create_lent(chosen);
      return;
    case 2:
      destroy(chosen);
      return;
    case 3:
      describe();
      return;
    default:
      run(chosen);
  }
}

int main(int count, char **arguments) {
  unsigned long wanted;
  size_t i;
  if (count < 3) return 2;
  state = strtoull(arguments[1], NULL, 10) * 2 + 1;
  wanted = strtoul(arguments[2], NULL, 10);
  prepare();
  for (calls = 0; calls < wanted; calls++) {
    if (count > 3) {
      forget(&slots[0]);
      share_a_handle(&slots[0]);
    } else {
      call_at_random();
    }
  }
  for (i = 0; i < HANDLES; i++)
    if (slots[i].alive) expect(NAME(_destroy)(slots[i].handle), CONSTANT(_OK));
  for (i = 0; i < CONSTANT(_INPUTS); i++) free(images[i]);
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) free(results[i]);
  for (i = 0; i <= CONSTANT(_ERROR_HANDLE); i++) printf("%u %s\n", answers[i], NAME(_message)((int)i));
  return 0;
}
