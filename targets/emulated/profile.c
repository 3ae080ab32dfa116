/* A QEMU plugin that records which blocks of instructions a program executes, how often, and the data they
 * miss in models of the first and second level caches. Written to a file when the program ends:
 *
 *   armature-profile 1
 *   file NUMBER PATH                                    before the first block of that file
 *   block ADDRESS FILE OFFSET EXECUTIONS CODE [L1-MISSES L2-MISSES]...   a pair per cache model; FILE - : no file
 *   end
 *
 * Arguments: output=FILE, and cache=L1KIB:L1WAYS:L2KIB:L2WAYS for each model wanted. Without one, memory
 * accesses are not looked at, which is fast. Threads are not told apart, and their counts may lose some.
 *
 * Version 1 of the plugin API (QEMU 4.2 to 8.2); its header is not packaged by Debian 12, so what is used of
 * it is declared here (qemu/include/qemu/qemu-plugin.h). */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0, READS_AND_WRITES = 3 };

typedef void (*on_block)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*on_access)(unsigned vcpu, qemu_plugin_meminfo_t, uint64_t address, void*);
typedef void (*on_syscall_end)(qemu_plugin_id_t, unsigned vcpu, int64_t number, int64_t result);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_block);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int op, void* counter, uint64_t amount);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn*, on_access, int registers, int rw, void*);
void qemu_plugin_register_vcpu_syscall_ret_cb(qemu_plugin_id_t, on_syscall_end);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void*), void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);
void* qemu_plugin_insn_haddr(const struct qemu_plugin_insn*);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { MAX_MODELS = 8, LINE_SHIFT = 6, BUCKETS = 1 << 16, MAX_CODE = 4096 };
/* Of aarch64 Linux (asm-generic/unistd.h), and of arm's (arch/arm/tools/syscall.tbl). To look again once too often,
 * because a number is another call there, does no harm. */
enum { SYS_MUNMAP = 215, SYS_MREMAP = 216, SYS_MMAP = 222, ARM_MUNMAP = 91, ARM_MREMAP = 163, ARM_MMAP2 = 192 };

/* ---- The caches: tags in order of use, latest first, as line numbers + 1 (0: empty). ---- */

typedef struct {
  uint64_t* tags;
  uint64_t sets;
  unsigned ways;
} Cache;

static struct {
  Cache l1, l2;
} models[MAX_MODELS];
static int model_count;

typedef struct Block {
  struct Block* next;
  uint64_t address, offset, executions;
  int file;
  size_t code_size;
  uint8_t* code;
  uint64_t l1_misses[MAX_MODELS], l2_misses[MAX_MODELS];
} Block;

static void* allocate(size_t count, size_t size) {
  void* memory = calloc(count, size);
  if (memory != NULL) return memory;
  fprintf(stderr, "profile: out of memory\n");
  exit(1);
}

static int make_cache(Cache* cache, unsigned kib, unsigned ways) {
  if (kib == 0 || ways == 0 || ((uint64_t)kib << 10) % ((uint64_t)ways << LINE_SHIFT) != 0) return -1;
  cache->ways = ways;
  cache->sets = ((uint64_t)kib << 10) / ((uint64_t)ways << LINE_SHIFT);
  cache->tags = allocate(cache->sets * ways, sizeof *cache->tags);
  return 0;
}

/* Whether the line is there; afterwards it is, as the latest used. */
static int touch(Cache* cache, uint64_t line) {
  uint64_t* set = cache->tags + (line % cache->sets) * cache->ways;
  uint64_t tag = line + 1, moved = set[0];
  if (moved == tag) return 1;
  for (unsigned way = 1; way < cache->ways; way++) {
    uint64_t here = set[way];
    set[way] = moved;
    if (here == tag) {
      set[0] = tag;
      return 1;
    }
    moved = here;
  }
  set[0] = tag;
  return 0;
}

static void use_line(Block* block, uint64_t line) {
  static uint64_t latest = UINT64_MAX; /* a hit in every model, and the order of use stays */
  if (line == latest) return;
  latest = line;
  for (int i = 0; i < model_count; i++) {
    if (touch(&models[i].l1, line)) continue;
    block->l1_misses[i]++;
    if (!touch(&models[i].l2, line)) block->l2_misses[i]++;
  }
}

static void on_memory(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void* block) {
  (void)vcpu;
  uint64_t first = address >> LINE_SHIFT;
  uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> LINE_SHIFT;
  use_line(block, first);
  if (last != first) use_line(block, last);
}

/* ---- Which file a block is of: QEMU maps the program's files into its own address space. ---- */

typedef struct {
  uintptr_t start, end;
  uint64_t offset;
  int file;
} Mapping;

static Mapping* mappings;
static size_t mapping_count, mapping_room;
static char** files;
static int file_count;
static int mappings_stale = 1;

static int file_number(const char* path) {
  for (int i = 0; i < file_count; i++) {
    if (strcmp(files[i], path) == 0) return i;
  }
  files = realloc(files, (size_t)(file_count + 1) * sizeof *files);
  char* copy = allocate(strlen(path) + 1, 1);
  if (files == NULL) exit(1);
  strcpy(copy, path);
  files[file_count] = copy;
  return file_count++;
}

static void add_mapping(Mapping mapping) {
  if (mapping_count == mapping_room) {
    mapping_room = mapping_room * 2 + 64;
    mappings = realloc(mappings, mapping_room * sizeof *mappings);
    if (mappings == NULL) exit(1);
  }
  mappings[mapping_count++] = mapping;
}

static void read_mappings(void) {
  char line[8192];
  FILE* maps = fopen("/proc/self/maps", "r");
  mapping_count = 0;
  mappings_stale = 0;
  if (maps == NULL) return;
  while (fgets(line, sizeof line, maps) != NULL) {
    uint64_t start, end, offset;
    int path = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &start, &end, &offset, &path) < 3) continue;
    if (path == 0 || line[path] != '/') continue;
    add_mapping((Mapping){(uintptr_t)start, (uintptr_t)end, offset, file_number(line + path)});
  }
  fclose(maps);
}

static void find_file(const void* host, Block* block) {
  uintptr_t at = (uintptr_t)host;
  block->file = -1;
  if (mappings_stale) read_mappings();
  for (size_t i = 0; host != NULL && i < mapping_count; i++) {
    if (at < mappings[i].start || at >= mappings[i].end) continue;
    block->file = mappings[i].file;
    block->offset = at - mappings[i].start + mappings[i].offset;
    return;
  }
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, int64_t result) {
  (void)id, (void)vcpu, (void)result;
  static const int64_t mapping[] = {SYS_MMAP, SYS_MUNMAP, SYS_MREMAP, ARM_MMAP2, ARM_MUNMAP, ARM_MREMAP};
  for (size_t i = 0; i < sizeof mapping / sizeof mapping[0]; i++) {
    if (number == mapping[i]) mappings_stale = 1;
  }
}

/* ---- The blocks. One that QEMU translates again, unchanged, is the same block. ---- */

static Block* buckets[BUCKETS];

static size_t read_code(const struct qemu_plugin_tb* translated, uint8_t* code) {
  size_t size = 0, count = qemu_plugin_tb_n_insns(translated);
  for (size_t i = 0; i < count; i++) {
    const struct qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(translated, i);
    size_t bytes = qemu_plugin_insn_size(instruction);
    if (size + bytes > MAX_CODE) break;
    memcpy(code + size, qemu_plugin_insn_data(instruction), bytes);
    size += bytes;
  }
  return size;
}

static Block* find_block(const struct qemu_plugin_tb* translated) {
  uint8_t code[MAX_CODE];
  Block here = {.address = qemu_plugin_tb_vaddr(translated), .code_size = read_code(translated, code)};
  find_file(qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(translated, 0)), &here);
  Block** bucket = &buckets[(here.address >> 2) % BUCKETS];
  for (Block* block = *bucket; block != NULL; block = block->next) {
    if (block->address == here.address && block->file == here.file && block->offset == here.offset &&
        block->code_size == here.code_size && memcmp(block->code, code, here.code_size) == 0) {
      return block;
    }
  }
  Block* block = allocate(1, sizeof *block);
  *block = here;
  block->code = allocate(here.code_size, 1);
  memcpy(block->code, code, here.code_size);
  block->next = *bucket;
  return *bucket = block;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb* translated) {
  (void)id;
  Block* block = find_block(translated);
  qemu_plugin_register_vcpu_tb_exec_inline(translated, INLINE_ADD_U64, &block->executions, 1);
  if (model_count == 0) return;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(translated); i++) {
    struct qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(translated, i);
    qemu_plugin_register_vcpu_mem_cb(instruction, on_memory, NO_REGISTERS, READS_AND_WRITES, block);
  }
}

/* ---- Arguments and output. ---- */

static char output[4096];

static void write_block(FILE* file, const Block* block) {
  fprintf(file, "block %" PRIx64 " ", block->address);
  if (block->file < 0) fprintf(file, "- 0");
  if (block->file >= 0) fprintf(file, "%d %" PRIx64, block->file, block->offset);
  fprintf(file, " %" PRIu64 " ", block->executions);
  for (size_t i = 0; i < block->code_size; i++) fprintf(file, "%02x", block->code[i]);
  for (int i = 0; i < model_count; i++) {
    fprintf(file, " %" PRIu64 " %" PRIu64, block->l1_misses[i], block->l2_misses[i]);
  }
  fputc('\n', file);
}

static void on_exit_write(qemu_plugin_id_t id, void* unused) {
  (void)id, (void)unused;
  FILE* file = fopen(output, "w");
  if (file == NULL) return;
  fprintf(file, "armature-profile 1\n");
  for (int i = 0; i < file_count; i++) fprintf(file, "file %d %s\n", i, files[i]);
  for (size_t i = 0; i < BUCKETS; i++) {
    for (const Block* block = buckets[i]; block != NULL; block = block->next) {
      if (block->executions != 0) write_block(file, block);
    }
  }
  fprintf(file, "end\n");
  fclose(file);
}

static int add_model(const char* text) {
  unsigned l1_kib, l1_ways, l2_kib, l2_ways;
  if (model_count == MAX_MODELS) return -1;
  if (sscanf(text, "%u:%u:%u:%u", &l1_kib, &l1_ways, &l2_kib, &l2_ways) != 4) return -1;
  if (make_cache(&models[model_count].l1, l1_kib, l1_ways) != 0) return -1;
  if (make_cache(&models[model_count].l2, l2_kib, l2_ways) != 0) return -1;
  model_count++;
  return 0;
}

static int read_argument(const char* argument) {
  if (strncmp(argument, "cache=", 6) == 0) return add_model(argument + 6);
  if (strncmp(argument, "output=", 7) != 0 || strlen(argument + 7) >= sizeof output) return -1;
  strcpy(output, argument + 7);
  return 0;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc,
                                                               char** argv) {
  (void)info;
  for (int i = 0; i < argc; i++) {
    if (read_argument(argv[i]) != 0) return -1;
  }
  if (output[0] == '\0') return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_vcpu_syscall_ret_cb(id, on_syscall);
  qemu_plugin_register_atexit_cb(id, on_exit_write, NULL);
  return 0;
}
