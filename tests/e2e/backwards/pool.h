/* In the place of compile/c_library/pool.h: the threads' shares one after the other, the last thread's first. What
   one share leaves for another shows, every time. */
typedef void (*pool_job)(const void *given, int turn, int thread, int threads);

typedef struct {
  int count;
} pool;

static void pool_run(pool *self, pool_job job, const void *given, int turn, int threads) {
  (void)self;
  for (int thread = threads - 1; thread >= 0; thread--) job(given, turn, thread, threads);
}

static void pool_create(pool *self, int threads) { self->count = threads; }

static int pool_threads(const pool *self) { return self->count; }

static void pool_destroy(pool *self) { self->count = 0; }
