/* libFuzzer's entry for the reader of plans, native/inner.c: any bytes after the head of a plan are read to their end
 * without a memory error. No step does anything here: system calls are answered, not made. scripts/fuzz-plan builds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static jmp_buf end;

__attribute__((noreturn)) static void leave(int status) {
    longjmp(end, status + 1);
}

static unsigned turns; /* who is spawned goes on, or who spawns, and a child speaks, or has ended, by turns */

static long answered(long number, ...) {
    return number == SYS_clone3 && turns++ % 2 ? 77 : 0;
}

static pid_t waited(int *status) {
    if (status)
        *status = 0;
    return 1;
}

/* What is read looks like /proc/pid/stat, as that is taken apart. */
static ssize_t told(void *data, size_t size) {
    memset(data, ' ', size);
    if (size > 1)
        *(char *)data = ')';
    return (ssize_t)size;
}

#define main inner_main
#define syscall(...) answered(__VA_ARGS__)
#define _exit(status) leave(status)

/* What inner calls by its name in libc: nothing must reach the machine the fuzzer runs on. */
#define write(fd, data, size) ((ssize_t)(size))
#define read(fd, data, size) told(data, size)
#define pread(fd, data, size, at) told(data, (size) / 2)
#define send(fd, data, size, flags) ((ssize_t)(size))
#define recvmsg(fd, message, flags) heard_of(message)
#define close(fd) 0
#define open(...) 9
#define openat(...) 9
#define access(path, how) (-1)
#define ioctl(...) 0
#define fcntl(...) 0
#define dup2(from, to) (to)
#define setsid() 0
#define chdir(path) 0
#define fchown(...) 0
#define lseek(...) 0
#define kill(...) 0
#define vfork() 1
#define waitpid(pid, status, flags) waited(status)
#define poll(ends, count, timeout) ((ends)[0].revents = POLLIN, 1)
#define prctl(...) 0
#define accept4(...) (-1)
#define recv(...) 0
#define shutdown(...) 0
#define sendmsg(...) 1
#define execve(path, argv, envp) touch(path, argv, envp)
#define sigaction(number, action, old) ((void)(action), 0)
#define fstat(fd, facts) (memset((facts), 0, sizeof *(facts)), 0)
#define fstatfs(fd, facts) ((facts)->f_type = 0x1cd1, 0)

/* A report of a child that executes its program, or that has failed, or its end. */
static ssize_t heard_of(struct msghdr *message) {
    uint32_t report[4] = {2 + turns / 3 % 2, 0, 5, 0};
    message->msg_controllen = 0;
    if (turns++ % 3 == 2)
        return 0;
    memcpy(message->msg_iov->iov_base, report, sizeof report);
    return sizeof report;
}

static volatile size_t sink;

/* The program's vectors are read as the kernel would read them. */
static int touch(const char *path, char *const *argv, char *const *envp) {
    sink += strlen(path);
    for (; *argv; argv++)
        sink += strlen(*argv);
    for (; *envp; envp++)
        sink += strlen(*envp);
    return -1;
}

#include "../../native/inner.c"

/* The first byte is the number of steps less one; the steps follow. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { HEAD_OF_PLAN = 16 };
    if (size < 1 || size > 1 << 20)
        return 0;
    uint32_t whole = (uint32_t)(size - 1 + HEAD_OF_PLAN), steps = data[0] + 1u;
    char *plan = malloc(whole);
    if (!plan)
        return 0;
    memcpy(plan, "BOXPLAN1", 8);
    memcpy(plan + 8, &whole, 4);
    memcpy(plan + 12, &steps, 4);
    memcpy(plan + HEAD_OF_PLAN, data + 1, size - 1);
    chdir_done = closed = undoing = 0;
    turns = undo = 0;
    child = begun = 0;
    making = size % 2;
    explain = 1;
    errno = ENOENT;
    if (setjmp(end) == 0)
        run(plan, whole);
    free(plan);
    return 0;
}
