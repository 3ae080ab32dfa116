/* A QEMU plugin that counts the instructions a program executes, and writes the count to a file at its end.
 *
 * Version 1 of the plugin API (QEMU 4.2 to 8.2); its header is not packaged by Debian 12, so what is used of
 * it is declared here (qemu/include/qemu/qemu-plugin.h). */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum { INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb*));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void*), void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int op, void* counter, uint64_t amount);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t count;
static char output[4096];

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &count, qemu_plugin_tb_n_insns(block));
}

static void on_exit_write(qemu_plugin_id_t id, void* unused) {
  (void)id;
  (void)unused;
  FILE* file = fopen(output, "w");
  if (file == NULL) return;
  fprintf(file, "%llu\n", (unsigned long long)count);
  fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc,
                                                               char** argv) {
  (void)info;
  if (argc != 1 || strncmp(argv[0], "output=", 7) != 0 || strlen(argv[0] + 7) >= sizeof output) return -1;
  strcpy(output, argv[0] + 7);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_atexit_cb(id, on_exit_write, NULL);
  return 0;
}
