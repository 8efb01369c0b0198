// A plugin of qemu that counts the instructions which a program executes, see tools/arm_check. What it uses of
// qemu's interface is declared here: Debian has no header of it.
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct qemu_plugin_tb;  // a piece of code, translated once and executed many times
enum { ADD_U64 = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, uint64_t);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

int qemu_plugin_version = 1;
static uint64_t executed;

static void translated(uint64_t id, struct qemu_plugin_tb *code) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(code, ADD_U64, &executed, qemu_plugin_tb_n_insns(code));
}

static void ended(uint64_t id, void *nothing) {
    (void)id, (void)nothing;
    fprintf(stderr, "%" PRIu64 "\n", executed);
}

int qemu_plugin_install(uint64_t id, const void *about, int count, char **arguments) {
    (void)about, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
