/* inner: the part of boxes that runs inside a container.
 *
 * Executed from a sealed memfd by the builder (create) or by the runtime (exec), in the container's namespaces, with the
 * runtime's privileges there. It reads one frozen plan and carries it out in a straight line: most steps are one system
 * call each, written out by boxes.plan.inner, which alone decides what is done and in which order. The last step is the
 * execve of the container's program. Nothing is opened by a path of the host here, and no file of the container steers it.
 *
 *     inner PLAN REPORT KEEP      descriptors of the plan and of the socket for reports; how many after 2 are the program's
 *     inner REQUESTS              the maker: it carries out the plans that come on this socket, each in a fork, for which
 *                                 it has the bare mount namespace in descriptor 4
 *
 * A plan of the maker's begins on the host: it is a container's whole life, by boxes.plan.script, and opens by path what
 * that says.
 *
 * Plan: "BOXPLAN1", u32 size of the whole, u32 steps; each step u32 code, u32 size of its payload, payload, padded to 8.
 * Report: struct report and up to DATA bytes, one message on a SOCK_SEQPACKET socket. All numbers are native.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef DEVPTS_SUPER_MAGIC
#define DEVPTS_SUPER_MAGIC 0x1cd1
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#define P_PIDFD_ 3 /* P_PIDFD, which not every <sys/wait.h> has */
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1u << 3)
#define OPEN_TREE_CLONE_CLOEXEC (1 | O_CLOEXEC)
#define RESOLVE_INSIDE (1 | 2 | 8) /* RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH */
#define MOVE_FROM_DESCRIPTOR 0x4
#define CLOSE_RANGE_SET_CLOEXEC 4
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* The codes of the steps and of the reports; boxes/plan/inner.py has the same (a test compares them). */
enum step {
    CALL = 1, FORK, CONSOLE, READY, WAIT, BOUNDING, CHDIR, STDIO, HOOK, EXEC, SECCOMP, WRITE, KEEP,
    UNDO, SPAWN, LAUNCHED, NOTE, PASS, DEVICES, NULL_DEVICE
};
enum kind { REPORT_READY = 1, REPORT_EXECUTING, REPORT_ERROR, REPORT_CONSOLE, REPORT_LISTENER, REPORT_ENDED };
enum { DATA = 4096, HEAD = 1024 };
enum { OLDEST_LAST_CAPABILITY = 40 }; /* CAP_CHECKPOINT_RESTORE, Linux 5.9 */
enum { SHORTAGE = 10000 }; /* microseconds until something that there was too little of is asked for again */
enum { MANY = 4096 }; /* the steps' descriptors are the first that the runtime opens: well below this */

struct report {
    uint32_t kind, step;
    int32_t error;
    uint32_t size;
};

struct payload {
    const char *at, *end;
};

static int reports = -1;       /* where reports go: the runtime, later who calls `start` */
static uint32_t current;       /* the number of the step being done */
static unsigned first_own = 3; /* descriptors below are the program's */
static int chdir_done;
static int closed;             /* what is not the program's is, but for reports */
static int explain = 1;        /* what failed may be looked at: a filter can forbid even that */
static int making;             /* this is the maker's: it goes on when nobody hears it */
static uint32_t undo;          /* the step at which what was made so far begins to be taken back; 0: nothing is */
static int undoing;            /* steps may fail */
static long child;             /* who was spawned */
static int32_t begun;          /* who was about to execute the program when that was last heard of; 0: nobody */
static struct payload all;     /* the steps */

static void carry_out(uint32_t first);
static _Noreturn void give_up(void);

static void send_report(enum kind kind, int error, const char *data, size_t size, int descriptor) {
    static char buffer[sizeof(struct report) + DATA];
    struct report report = {kind, current, error, (uint32_t)(size < DATA ? size : DATA)};
    memcpy(buffer, &report, sizeof report);
    if (size)
        memcpy(buffer + sizeof report, data, report.size);
    if (descriptor < 0) {
        /* Nobody there to hear it: whoever asked for this process is gone, so it must not go on. write(2) and not a
         * call of sockets, since seccomp profiles let it through. */
        if (write(reports, buffer, sizeof report + report.size) < 0 && !making)
            _exit(1);
        return;
    }
    struct iovec part = {buffer, sizeof report + report.size};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space,
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    /* A program of which nobody knows that it has begun must not go on: it would be begun again. */
    if (sendmsg(reports, &message, MSG_NOSIGNAL) < 0)
        give_up();
}

/* Take back what was made, if that is for this process to do, and end. */
static _Noreturn void give_up(void) {
    uint32_t first = undo;
    undo = 0;
    undoing = 1;
    if (first)
        carry_out(first);
    _exit(1);
}

static _Noreturn void fail_with(int error, const char *data, size_t size) {
    send_report(REPORT_ERROR, error, data, size, -1);
    give_up();
}

static _Noreturn void fail(void) {
    fail_with(errno, NULL, 0);
}

static _Noreturn void malformed(void) {
    fail_with(EBADMSG, NULL, 0);
}

/* ---- reading the plan ---- */

static const void *take(struct payload *payload, size_t size) {
    if ((size_t)(payload->end - payload->at) < size)
        malformed();
    const char *start = payload->at;
    payload->at += size;
    return start;
}

static uint32_t take32(struct payload *payload) {
    uint32_t value;
    memcpy(&value, take(payload, sizeof value), sizeof value);
    return value;
}

static uint64_t take64(struct payload *payload) {
    uint64_t value;
    memcpy(&value, take(payload, sizeof value), sizeof value);
    return value;
}

static const char *take_string(struct payload *payload) {
    const char *start = payload->at;
    const char *zero = memchr(start, 0, (size_t)(payload->end - start));
    if (!zero)
        malformed();
    payload->at = zero + 1;
    return start;
}

/* Room for a vector of `count` strings and its NULL, which take_strings fills. */
static char **take_vector(struct payload *payload, uint32_t count) {
    return (char **)(uintptr_t)take(payload, (count + (size_t)1) * sizeof(char *));
}

static void take_strings(struct payload *payload, char **vector, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        vector[i] = (char *)(uintptr_t)take_string(payload);
    vector[count] = NULL;
}

/* ---- the steps ---- */

static size_t decimal(char *at, uint64_t number) {
    char digits[20];
    size_t count = 0, size = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        at[size++] = digits[--count];
    return size;
}

/* One system call: u32 number, u32 mask of arguments that are offsets into the data, u32 errno to ignore, i32 what it has
 * to give (0: whatever; above: one more than the value; below: failure, with this errno), u64 six arguments, data. */
static void do_call(struct payload payload) {
    uint32_t number = take32(&payload), offsets = take32(&payload), ignored = take32(&payload);
    int32_t expected = (int32_t)take32(&payload);
    long arguments[6];
    for (int i = 0; i < 6; i++)
        arguments[i] = (long)take64(&payload);
    for (int i = 0; i < 6; i++) {
        if (!(offsets & (1u << i)))
            continue;
        if ((unsigned long)arguments[i] > (unsigned long)(payload.end - payload.at))
            malformed();
        arguments[i] = (long)(payload.at + arguments[i]);
    }
    long value;
    do
        value = syscall((long)number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    while (value < 0 && errno == EINTR);
    if (undoing)
        return;
    if (expected < 0 ? value >= 0 || errno != -expected : value < 0 && (uint32_t)errno != ignored)
        fail_with(value < 0 ? errno : EEXIST, NULL, 0);
    if (expected > 0 && value != expected - 1)
        fail_with(EBADFD, NULL, 0);
}

/* Write a file of a filesystem that is known by its descriptor: u32 descriptor, u32 size of the text, path, text. */
static void do_write(struct payload payload) {
    int root = (int)take32(&payload);
    uint32_t size = take32(&payload);
    const char *path = take_string(&payload);
    const char *text = take(&payload, size);
    struct {
        uint64_t flags, mode, resolve;
    } how = {O_WRONLY | O_CLOEXEC, 0, RESOLVE_INSIDE}; /* struct open_how of <linux/openat2.h> */
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd < 0 || write(fd, text, size) < 0)
        fail();
    close(fd);
}

/* Go on in a child, which is in the pid namespace that was joined; its parent is the runtime still. */
static void do_fork(void) {
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        fail();
    if (pid > 0)
        _exit(0);
}

/* A terminal of the container's own devpts: u32 bind on /dev/console, u32 owner, u32 rows, u32 columns (0, 0: leave). */
static void do_console(struct payload payload) {
    uint32_t bind = take32(&payload), owner = take32(&payload), rows = take32(&payload), columns = take32(&payload);
    struct statfs facts;
    /* Inside a devpts nothing is the container's to plant, so the directory is all that has to be verified. */
    int directory = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || fstatfs(directory, &facts) < 0)
        fail();
    if ((unsigned long)facts.f_type != DEVPTS_SUPER_MAGIC)
        fail_with(ENODEV, NULL, 0);
    int master = openat(directory, "ptmx", O_RDWR | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    int unlocked = 0, number;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
        fail();
    int peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (peer < 0)
        fail();
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    if ((rows || columns) && ioctl(master, TIOCSWINSZ, &size) < 0)
        fail();
    if (fchown(peer, owner, (gid_t)-1) < 0 && errno != EPERM && errno != EROFS)
        fail();
    if (bind) {
        /* Bound by descriptor, on a name that is not followed: CVE-2025-52565. */
        long tree = syscall(SYS_open_tree, peer, "", OPEN_TREE_CLONE_CLOEXEC | AT_EMPTY_PATH);
        if (tree < 0 || syscall(SYS_move_mount, tree, "", AT_FDCWD, "/dev/console", MOVE_FROM_DESCRIPTOR) < 0)
            fail();
        close((int)tree);
    }
    char name[32] = "/dev/pts/";
    size_t length = 9 + decimal(name + 9, (uint64_t)number);
    send_report(REPORT_CONSOLE, 0, name, length, master);
    if (setsid() < 0 && errno != EPERM)
        fail();
    if (ioctl(peer, TIOCSCTTY, 0) < 0 || dup2(peer, 0) < 0 || dup2(peer, 1) < 0 || dup2(peer, 2) < 0)
        fail();
    close(peer);
    close(master);
    close(directory);
}

static void end_by_signal(int signal) {
    _exit(128 + signal);
}

static void unblock_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        fail();
}

/* As pid 1 without handlers this process would ignore every signal; a created container must be endable. */
static void end_by_signals(void) {
    struct sigaction action = {.sa_handler = end_by_signal};
    for (int number = 1; number < NSIG; number++) {
        switch (number) {
        case SIGKILL: case SIGSTOP: case SIGCHLD: case SIGCONT: case SIGTSTP: case SIGTTIN: case SIGTTOU: case SIGURG: case SIGWINCH:
            continue;
        default:
            if (sigaction(number, &action, NULL) < 0 && errno != EINVAL) /* EINVAL: libc keeps it */
                fail();
        }
    }
    unblock_signals(); /* libc blocks them for SIGABRT's, and would not say if it could not undo that */
}

/* "created": the runtime may go; from here on its death is not ours. */
static void do_ready(void) {
    end_by_signals();
    if (prctl(PR_SET_PDEATHSIG, 0) < 0)
        fail();
    send_report(REPORT_READY, 0, NULL, 0, -1);
}

/* Wait as the container's init until somebody says "start" on the socket: u32 listening descriptor. */
static void do_wait(struct payload payload) {
    int listening = (int)take32(&payload);
    char word[8];
    close(reports);
    signal(SIGCHLD, SIG_IGN); /* orphans of other processes of the container, which nobody here waits for */
    for (;;) {
        int peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (peer < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
                _exit(1);
            usleep(SHORTAGE); /* who knocks waits meanwhile */
            continue;
        }
        ssize_t size;
        do
            size = recv(peer, word, sizeof word, 0);
        while (size < 0 && errno == EINTR);
        if (size == 5 && !memcmp(word, "start", 5)) {
            close(listening);
            reports = peer;
            signal(SIGCHLD, SIG_DFL);
            return;
        }
        close(peer); /* a knock is no start */
    }
}

/* Drop from the bounding set all but: u64 mask. */
static void do_bounding(struct payload payload) {
    uint64_t keep = take64(&payload);
    for (unsigned long capability = 0; capability < 64; capability++) {
        if (prctl(PR_CAPBSET_READ, capability) < 0) {
            if (errno == EINVAL && capability > OLDEST_LAST_CAPABILITY)
                return; /* the kernel knows no more */
            fail();
        }
        if (!(keep >> capability & 1) && prctl(PR_CAPBSET_DROP, capability) < 0)
            fail();
    }
}

/* u32 1: must succeed now, 0: there is a second try with the process's identity; path. A directory reached through a
 * descriptor of the host's has no path here and is refused: CVE-2024-21626. */
static void do_chdir(struct payload payload) {
    static char where[4096];
    int must = (int)take32(&payload);
    const char *path = take_string(&payload);
    if (chdir_done)
        return;
    if (chdir(path) < 0) {
        if (!must && (errno == EACCES || errno == EPERM))
            return;
        fail();
    }
    if (syscall(SYS_getcwd, where, sizeof where) < 0)
        fail();
    if (where[0] != '/')
        fail_with(EXDEV, NULL, 0);
    chdir_done = 1;
}

/* Give the streams to u32 uid, so that it can open /dev/stdout; never the host's /dev/null. */
static void do_stdio(struct payload payload) {
    uint32_t owner = take32(&payload);
    for (int fd = 0; fd < 3; fd++) {
        struct stat facts;
        if (fstat(fd, &facts) < 0) {
            if (errno != EBADF)
                fail();
            continue;
        }
        if (facts.st_uid == owner)
            continue;
        if (S_ISCHR(facts.st_mode) && facts.st_rdev == makedev(1, 3))
            continue;
        if (fchown(fd, owner, (gid_t)-1) < 0 && errno != EPERM && errno != EROFS && errno != EINVAL)
            fail();
    }
}

/* Wait for a child's end, at most `timeout` ms (0: for ever), then end it. Returns its wait status, or -1: too late. */
static int wait_for(pid_t pid, uint32_t timeout) {
    int status, late = 0;
    if (timeout) {
        struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        int ready = end.fd < 0 ? -1 : poll(&end, 1, (int)timeout);
        if (ready == 0)
            late = kill(pid, SIGKILL) == 0;
        if (end.fd >= 0)
            close(end.fd);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            fail();
    return late ? -1 : status;
}

/* A startContainer hook: u32 descriptor of its stdin, u32 timeout in ms, u32 arguments, u32 variables, room for their
 * vectors, path, strings. Fails with the errno of its execve, or with ETIME, or with ECHILD and its wait status. */
static void do_hook(struct payload payload) {
    int input = (int)take32(&payload);
    uint32_t timeout = take32(&payload), arguments = take32(&payload), variables = take32(&payload);
    char **argv = take_vector(&payload, arguments), **envp = take_vector(&payload, variables);
    const char *path = take_string(&payload);
    take_strings(&payload, argv, arguments);
    take_strings(&payload, envp, variables);
    static volatile int refused;
    refused = 0;
    if (lseek(input, 0, SEEK_SET) < 0)
        fail();
    pid_t pid = vfork();
    if (pid < 0)
        fail();
    if (pid == 0) {
        if (dup2(input, 0) == 0) {
            for (unsigned fd = 3; fd < first_own; fd++)
                close((int)fd); /* the preserved ones are the program's alone */
            execve(path, argv, envp);
        }
        refused = errno;
        _exit(127);
    }
    int status = wait_for(pid, timeout);
    if (refused)
        fail_with(refused, NULL, 0);
    if (status < 0)
        fail_with(ETIME, NULL, 0);
    if (status)
        fail_with(ECHILD, (const char *)&status, sizeof status);
}

/* close_range(2); one by one on kernels, and below seccomp filters, that do not know it, or not its flag (Linux 5.11). */
static void close_all(unsigned first, unsigned last, unsigned flags) {
    if (syscall(SYS_close_range, first, last, flags) == 0)
        return;
    for (unsigned fd = first; fd <= last && fd - first < MANY; fd++) {
        if (flags)
            fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        else
            close((int)fd);
    }
}

/* Close all that is not the program's, but the socket for reports and `kept`. Not only CLOEXEC: an open descriptor can
 * be named by execve itself, as /proc/self/fd/N. */
static void close_own(unsigned kept) {
    unsigned report = (unsigned)reports, low = kept < report ? kept : report, high = kept < report ? report : kept;
    if (low > first_own)
        close_all(first_own, low - 1, 0);
    if (high > low + 1)
        close_all(low + 1, high - 1, 0);
    if (high != ~0U)
        close_all(high + 1, ~0U, 0);
    closed = 1;
}

/* Load a filter: u32 flags, u32 descriptor that is needed later (~0: none), u32 how, u32 zero, the program. From here on
 * only the calls that boxes/plan/seccomp.py lists are made. A listener is told to the runtime, which has to have got it
 * before anything else is done, as that may be what it decides on. */
static void do_seccomp(struct payload payload) {
    enum { ATTACHED = 1, SILENT = 2 };
    uint32_t flags = take32(&payload), kept = take32(&payload), how = take32(&payload);
    take32(&payload);
    struct {
        unsigned short count;
        const void *instructions;
    } program = {(unsigned short)((payload.end - payload.at) / 8), payload.at}; /* struct sock_fprog of <linux/filter.h> */
    close_own(kept);
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (listener < 0)
        fail();
    explain = !(how & SILENT);
    if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) {
        char word;
        send_report(REPORT_LISTENER, 0, (char *)&listener, sizeof listener, how & ATTACHED ? listener : -1);
        if (read(reports, &word, sizeof word) != sizeof word)
            _exit(1);
        close(listener);
    }
}

/* ---- the last step ---- */

static const char *path_variable(char **envp) {
    for (; *envp; envp++)
        if (!strncmp(*envp, "PATH=", 5))
            return *envp + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Say why: the name that was tried, and the beginning of the file, which tells its interpreter. */
static _Noreturn void exec_failed(int error, const char *path) {
    static char data[DATA];
    size_t size = strlen(path) + 1;
    struct stat facts;
    if (size > DATA - HEAD)
        size = DATA - HEAD;
    memcpy(data, path, size);
    data[size - 1] = 0;
    /* O_NONBLOCK: the file may be a FIFO, which must not hold us up. */
    int fd = explain ? open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    if (fd >= 0 && fstat(fd, &facts) == 0) {
        if (S_ISDIR(facts.st_mode))
            error = EISDIR;
        if (S_ISREG(facts.st_mode)) {
            ssize_t head = read(fd, data + size, HEAD);
            size += head > 0 ? (size_t)head : 0;
        }
    }
    fail_with(error, data, size);
}

/* execve the first that there is of the directories of PATH, as execvp(3) does without its shell. */
static _Noreturn void exec_by_path(char **argv, char **envp) {
    static char candidate[4096];
    int error = ENOENT;
    size_t name = strlen(argv[0]);
    for (const char *directory = path_variable(envp), *end; directory; directory = *end ? end + 1 : NULL) {
        end = strchr(directory, ':');
        if (!end)
            end = directory + strlen(directory);
        size_t length = (size_t)(end - directory);
        if (length + name + 2 > sizeof candidate)
            continue;
        memcpy(candidate, directory, length);
        if (length)
            candidate[length++] = '/';
        memcpy(candidate + length, argv[0], name + 1);
        execve(candidate, argv, envp);
        if (errno == EACCES)
            error = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            exec_failed(errno, candidate);
        else if (explain && access(candidate, F_OK) == 0)
            exec_failed(ENOENT, candidate); /* it is there: its interpreter is not */
    }
    exec_failed(error, argv[0]);
}

/* u32 arguments, u32 variables, room for their vectors, strings. */
static _Noreturn void do_exec(struct payload payload) {
    uint32_t arguments = take32(&payload), variables = take32(&payload);
    if (!arguments)
        malformed();
    char **argv = take_vector(&payload, arguments), **envp = take_vector(&payload, variables);
    take_strings(&payload, argv, arguments);
    take_strings(&payload, envp, variables);
    if (!closed)
        close_own(~0U);
    send_report(REPORT_EXECUTING, 0, NULL, 0, -1);
    if (!strchr(argv[0], '/') && argv[0][0])
        exec_by_path(argv, envp);
    execve(argv[0], argv, envp);
    exec_failed(errno, argv[0]);
}

/* ---- a keeper, which is the parent of a container's init, or of a process in a container ---- */

/* Somebody who holds the socket of reports wants a signal sent (one byte, its number), or everything ended (0, or the
 * end of the socket). Whether there is more to hear. */
static int heed(int init, int cgroup_kill) {
    unsigned char word = 0;
    ssize_t size = recv(reports, &word, 1, 0);
    if (size < 0 && errno == EINTR)
        return 1;
    if (size == 1 && word) {
        syscall(SYS_pidfd_send_signal, init, word, NULL, 0);
        return 1;
    }
    if (cgroup_kill >= 0 && write(cgroup_kill, "1", 1) < 0)
        errno = 0; /* the signal will have to do */
    syscall(SYS_pidfd_send_signal, init, SIGKILL, NULL, 0);
    return size > 0;
}

/* Wait for a child's end and report it: u32 pidfd, u32 cgroup.kill or ~0, u32 number of files to read and report then,
 * u32 0, their descriptors. Data: i32 si_code, i32 si_status, i64 microseconds of CPU, i64 KiB of memory at most, then
 * each file as u32 size, text. */
static void do_keep(struct payload payload) {
    int init = (int)take32(&payload), cgroup_kill = (int)take32(&payload);
    uint32_t files = take32(&payload);
    take32(&payload);
    struct pollfd ends[2] = {{.fd = init, .events = POLLIN}, {.fd = reports, .events = POLLIN}};
    while (!ends[0].revents) {
        ends[1].revents = 0;
        if (poll(ends, 2, -1) < 0 && errno != EINTR)
            fail();
        if (!ends[0].revents && ends[1].revents && !heed(init, cgroup_kill))
            ends[1].fd = -1;
    }
    siginfo_t info = {0};
    struct rusage used = {0};
    if (syscall(SYS_waitid, P_PIDFD_, init, &info, WEXITED | __WALL, &used) < 0)
        fail();
    if (cgroup_kill >= 0 && write(cgroup_kill, "1", 1) < 0)
        errno = 0; /* nobody can be left where the init had its own pid namespace */
    static char data[DATA];
    int32_t how[2] = {info.si_code, info.si_status};
    int64_t usage[2] = {(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec + used.ru_stime.tv_usec,
                        used.ru_maxrss};
    memcpy(data, how, sizeof how);
    memcpy(data + sizeof how, usage, sizeof usage);
    size_t size = sizeof how + sizeof usage;
    for (; files && size + 4 + HEAD <= DATA; files--) {
        ssize_t length = pread((int)take32(&payload), data + size + 4, HEAD, 0);
        uint32_t told = length > 0 ? (uint32_t)length : 0;
        memcpy(data + size, &told, 4);
        size += 4 + told;
    }
    struct report report = {REPORT_ENDED, current, 0, (uint32_t)size};
    struct iovec parts[2] = {{&report, sizeof report}, {data, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (sendmsg(reports, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        errno = 0; /* nobody is left to tell, and the rest is to be done all the same */
}

/* ---- a container's whole life, by the maker ---- */

/* From here on a failure takes back what was made: u32 the step where that begins, or 0. What fails meanwhile ends it. */
static void do_undo(struct payload payload) {
    uint32_t first = take32(&payload);
    undo = undoing ? 0 : first;
}

/* Make a child, which goes on with the next step: u64 flags of clone(2), u32 cgroup to be born in or ~0, u32 the number
 * that its pidfd has to get, u32 its socket for reports, u32 the step with which this process goes on. */
static void do_spawn(struct payload payload) {
    uint64_t flags = take64(&payload);
    int cgroup = (int)take32(&payload), wanted = (int)take32(&payload), socket = (int)take32(&payload);
    uint32_t next = take32(&payload);
    int pidfd = -1;
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
    } how = {.flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    if (cgroup >= 0) {
        how.flags |= CLONE_INTO_CGROUP;
        how.cgroup = (uint64_t)cgroup;
    }
    child = syscall(SYS_clone3, &how, sizeof how);
    if (child < 0)
        fail();
    if (child == 0) {
        reports = socket;
        making = 0;
        undo = 0;
        return;
    }
    if (pidfd != wanted)
        fail_with(EBADFD, NULL, 0);
    current = next - 1;
}

/* The next report of a child: whose it is the socket tells if it passes credentials. */
static ssize_t heard(int socket, char *buffer, size_t room) {
    union {
        char space[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct iovec part = {buffer, room};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space,
    };
    ssize_t size;
    do
        size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    struct report *report = (struct report *)(void *)buffer;
    if (size < (ssize_t)sizeof *report)
        return size;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int32_t sender = (int32_t)child;
    if (header && header->cmsg_type == SCM_CREDENTIALS)
        memcpy(&sender, CMSG_DATA(header), sizeof sender); /* struct ucred begins with the pid */
    if (report->kind == REPORT_EXECUTING)
        begun = sender;
    else if (report->kind == REPORT_ERROR)
        begun = 0;
    return size;
}

/* Let no program begin any more. One that may have begun is ended; and whoever asked for it, and hears of a failure,
 * hears once more that the request was taken, so as not to begin it again: boxes.api.scripted. */
static void prevent_launch(int socket) {
    static char buffer[sizeof(struct report) + DATA];
    shutdown(socket, SHUT_RD);
    while (heard(socket, buffer, sizeof buffer) > 0)
        continue;
    if (begun && (kill(begun, SIGKILL) < 0 || waitpid(begun, NULL, 0) < 0 || write(reports, "!taken", 6) < 0))
        errno = 0; /* it has ended, or nobody is left to tell */
}

/* Wait until the program has replaced the child, or the child that this has made in its place, and tell so, with its pid
 * and pidfd: u32 its socket, u32 the pidfd, u32 whether it is another's, which has to get this number. What is reported of
 * a failure is handed on. Where what was made is taken back, this prevents it. */
static void do_launched(struct payload payload) {
    int socket = (int)take32(&payload), pidfd = (int)take32(&payload), other = (int)take32(&payload);
    static char buffer[sizeof(struct report) + DATA];
    struct report *report = (struct report *)(void *)buffer;
    if (undoing) {
        prevent_launch(socket);
        return;
    }
    for (;;) {
        ssize_t size = heard(socket, buffer, sizeof buffer);
        if (size == 0 && begun)
            break;
        if (size < (ssize_t)sizeof *report)
            fail_with(ECHILD, NULL, 0); /* it ended without a word */
        if (report->kind == REPORT_ERROR) {
            if (send(reports, buffer, (size_t)size, MSG_NOSIGNAL) < 0)
                errno = 0; /* nobody is left to tell */
            give_up();
        }
    }
    if (other) {
        /* It has begun: whatever goes wrong from here on must not look as if it had not. */
        if ((begun != child && waitpid((pid_t)child, NULL, 0) < 0) || syscall(SYS_pidfd_open, begun, 0) != pidfd)
            give_up();
        child = begun;
    }
    close(socket);
    send_report(REPORT_READY, 0, (const char *)&begun, sizeof begun, pidfd);
    begun = 0;
}

/* When a process began, in clock ticks since boot: proc(5), /proc/pid/stat, the 22nd field. */
static uint64_t start_time(uint64_t pid) {
    static char text[4096];
    char path[32] = "/proc/";
    memcpy(path + 6 + decimal(path + 6, pid), "/stat", 6);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (size < 0)
        fail();
    close(fd);
    text[size] = 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        fail_with(EINVAL, NULL, 0);
    return strtoull(at, NULL, 10);
}

/* Write a new file: u32 directory, u32 parts, name; then each part after padding to 4: u32 what, u32 value, and text of
 * that size if it is a text. */
static void do_note(struct payload payload) {
    enum { TEXT, OWN_PID, OWN_START, CHILD_PID, CHILD_START, INODE };
    static char note[64 << 10];
    int directory = (int)take32(&payload);
    uint32_t parts = take32(&payload);
    const char *start = payload.at, *name = take_string(&payload);
    size_t size = 0;
    for (; parts; parts--) {
        take(&payload, (size_t)-(payload.at - start) & 3);
        uint32_t what = take32(&payload), value = take32(&payload);
        struct stat facts;
        if (what == TEXT) {
            const char *text = take(&payload, value);
            if (value > sizeof note - size)
                fail_with(E2BIG, NULL, 0);
            memcpy(note + size, text, value);
            size += value;
            continue;
        }
        if (sizeof note - size < 20)
            fail_with(E2BIG, NULL, 0);
        if (what == INODE && fstat((int)value, &facts) < 0)
            fail();
        uint64_t pid = what == OWN_PID || what == OWN_START ? (uint64_t)getpid() : (uint64_t)child;
        uint64_t number = what == INODE ? facts.st_ino : what == OWN_START || what == CHILD_START ? start_time(pid) : pid;
        size += decimal(note + size, number);
    }
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, note, size) != (ssize_t)size)
        fail_with(fd < 0 ? errno : ENOSPC, NULL, 0);
    close(fd);
}

/* A file has to hold a text, or is passed on: u32 its directory, u32 the directory of a file of the same name that is to
 * hold the same, or ~0, u32 size of the text, name, text. */
static void do_pass(struct payload payload) {
    static char found[DATA];
    int from = (int)take32(&payload), to = (int)take32(&payload);
    uint32_t wanted = take32(&payload);
    const char *name = take_string(&payload);
    int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, found, sizeof found);
    if (size < 0)
        fail();
    close(fd);
    if (to < 0) {
        if ((size_t)size != wanted || memcmp(found, take(&payload, wanted), wanted))
            fail_with(EBUSY, NULL, 0);
        return;
    }
    fd = openat(to, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || write(fd, found, (size_t)size) < 0)
        fail();
    close(fd);
}

/* Confine a new cgroup of v2 to devices: u32 its directory, u32 zero, eBPF instructions. boxes/cgroups/devices.py does it
 * for one that is there. */
static void do_devices(struct payload payload) {
    enum { PROG_LOAD = 5, PROG_ATTACH = 8, TYPE_CGROUP_DEVICE = 15, CGROUP_DEVICE = 6, ALLOW_MULTI = 2, TRIES = 30 };
    uint32_t cgroup = take32(&payload);
    take32(&payload);
    struct { /* union bpf_attr of <linux/bpf.h> */
        uint32_t type, count;
        uint64_t instructions, licence;
        uint32_t log_level, log_size;
        uint64_t log;
        uint32_t version, flags;
        char name[16];
    } program = {
        .type = TYPE_CGROUP_DEVICE, .count = (uint32_t)((payload.end - payload.at) / 8),
        .instructions = (uint64_t)(uintptr_t)payload.at, .licence = (uint64_t)(uintptr_t)"Apache-2.0",
        .name = "boxes_devices",
    };
    long loaded = -1;
    for (int i = 0; i < TRIES && loaded < 0; i++) {
        loaded = syscall(SYS_bpf, PROG_LOAD, &program, sizeof program);
        if (loaded < 0 && errno != EAGAIN && errno != EINTR)
            break;
    }
    uint32_t attached[5] = {cgroup, (uint32_t)loaded, CGROUP_DEVICE, ALLOW_MULTI, 0};
    if (loaded < 0 || syscall(SYS_bpf, PROG_ATTACH, attached, sizeof attached) < 0)
        fail();
    close((int)loaded);
}

/* Something has to be the null device, whatever its name: u32 its descriptor, u32 zero. */
static void do_null_device(struct payload payload) {
    struct stat facts;
    if (fstat((int)take32(&payload), &facts) < 0)
        fail();
    if (!S_ISCHR(facts.st_mode) || facts.st_rdev != makedev(1, 3))
        fail_with(ENODEV, NULL, 0);
}

static void do_step(enum step code, struct payload payload) {
    switch (code) {
    case CALL: do_call(payload); return;
    case FORK: do_fork(); return;
    case CONSOLE: do_console(payload); return;
    case READY: do_ready(); return;
    case WAIT: do_wait(payload); return;
    case BOUNDING: do_bounding(payload); return;
    case CHDIR: do_chdir(payload); return;
    case STDIO: do_stdio(payload); return;
    case HOOK: do_hook(payload); return;
    case SECCOMP: do_seccomp(payload); return;
    case WRITE: do_write(payload); return;
    case KEEP: do_keep(payload); return;
    case UNDO: do_undo(payload); return;
    case SPAWN: do_spawn(payload); return;
    case LAUNCHED: do_launched(payload); return;
    case NOTE: do_note(payload); return;
    case PASS: do_pass(payload); return;
    case DEVICES: do_devices(payload); return;
    case NULL_DEVICE: do_null_device(payload); return;
    case EXEC: do_exec(payload);
    }
    malformed();
}

/* Steps in their order, from a number on. One that goes on elsewhere says so in `current`. */
static void carry_out(uint32_t first) {
    struct payload steps = all;
    take(&steps, 12);
    uint32_t count = take32(&steps);
    current = first;
    for (uint32_t number = 0; number < count; number++) {
        uint32_t code = take32(&steps), length = take32(&steps);
        if (length > (size_t)(steps.end - steps.at))
            malformed();
        struct payload payload = {steps.at, steps.at + length};
        take(&steps, (length + 7) & ~(size_t)7);
        if (number != current)
            continue;
        do_step((enum step)code, payload);
        current++;
    }
}

static void run(const char *plan, size_t size) {
    all = (struct payload){plan, plan + size};
    struct payload head = all;
    if (memcmp(take(&head, 8), "BOXPLAN1", 8) || take32(&head) != size)
        malformed();
    carry_out(0);
    malformed(); /* a plan ends in EXEC or in exit_group(2), which do not return */
}

/* The program must find signals as a new session does: the interpreter ignores some, and a caller may have. */
static void reset_signals(void) {
    uint64_t by_default[4] = {0}; /* struct kernel_sigaction; libc would keep two signals for itself */
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP && syscall(SYS_rt_sigaction, number, by_default, NULL, 8) < 0)
            fail();
    unblock_signals();
}

/* ---- the maker ---- */

/* Bytes of a request; its descriptors: a socket for reports, three streams, and perhaps the pidfd of a container. */
enum { PLAN = 256 << 10, GIVEN = 4, GIVEN_MOST = 5 };

/* The next request, and its size: 0 at the end, below 0 for one that makes no sense, of which nothing is kept. */
static ssize_t receive(int requests, char *text, int *given, size_t *number) {
    union {
        char space[CMSG_SPACE(sizeof(int) * 16)];
        struct cmsghdr align;
    } control;
    struct iovec part = {text, PLAN};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space,
    };
    ssize_t size = recvmsg(requests, &message, MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EINTR ? -1 : 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    size_t count = header ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
    int whole = size > 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    if (header && whole && (count == GIVEN || count == GIVEN_MOST)) {
        memcpy(given, CMSG_DATA(header), sizeof(int) * count);
        *number = count;
        return size;
    }
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        close(fd);
    }
    return size || count ? -1 : 0;
}

/* In a fork: the streams become 0 to 2, the socket for reports 3, a pidfd 4, where else the bare mount namespace is, and
 * nothing else is open. They came in the numbers from 5 on. */
static _Noreturn void make(char *text, size_t size, const int *given, size_t number) {
    static const int places[GIVEN_MOST] = {3, 0, 1, 2, 4};
    for (size_t i = 0; i < number; i++)
        if (dup2(given[i], places[i]) < 0)
            _exit(1);
    reports = 3;
    close_all(GIVEN_MOST, ~0U, 0);
    for (int fd = reports; fd < GIVEN_MOST; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            _exit(1);
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        _exit(1);
    making = 1;
    run(text, size);
    _exit(1);
}

/* Until the other end of the socket is closed. Nothing of a request stays in this process. */
static _Noreturn void serve(int requests) {
    static _Alignas(8) char text[PLAN];
    int given[GIVEN_MOST];
    size_t number = 0;
    signal(SIGCHLD, SIG_IGN); /* they tell whoever asked, and need not be waited for */
    umask(022);
    if (prctl(PR_SET_NAME, "box: maker") < 0 || chdir("/") < 0)
        _exit(1);
    for (;;) {
        ssize_t size = receive(requests, text, given, &number);
        if (size == 0)
            _exit(0);
        if (size < 0)
            continue;
        if (fork() == 0)
            make(text, (size_t)size, given, number);
        memset(text, 0, (size_t)size);
        for (size_t i = 0; i < number; i++)
            close(given[i]);
    }
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 2)
        return 125;
    int plan = atoi(argv[1]);
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        fail();
    reset_signals();
    if (argc == 2)
        serve(plan);
    reports = atoi(argv[2]);
    first_own = 3 + (unsigned)atoi(argv[3]);
    /* dup2 clears it, and one descriptor without it would keep the start socket open past execve. */
    close_all(first_own, ~0U, CLOSE_RANGE_SET_CLOEXEC);
    if (fcntl(reports, F_SETFD, FD_CLOEXEC) < 0)
        fail();
    struct stat facts;
    if (fstat(plan, &facts) < 0)
        fail();
    const char *text = mmap(NULL, (size_t)facts.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, plan, 0);
    if (text == MAP_FAILED)
        fail();
    close(plan);
    run(text, (size_t)facts.st_size);
}
