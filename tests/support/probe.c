/* The program that tests put into a container: it prints what a process there sees, as one line of JSON.
 *
 *   probe [--to FILE] [--label TEXT] [--stdin] [--exit N] [--hang] [ARGUMENT…]   report (appended to FILE, else printed)
 *   probe --catch                          print "ready", then "signal N" for each signal; SIGTERM ends it with 40
 *   probe --open PATH                      open PATH for writing without creating or changing it: "ok" or the errno
 *   probe --lock PATH                      lock a file as flock(1) does, print "locked" and wait; or print "busy"
 *
 * Everything is asked by system calls where there is one, so that it works without /proc too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static FILE *out;

/* Bytes become the code points of the same number: Python turns them back with latin-1. */
static void text(const char *s, size_t length)
{
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\' || c < 32 || c > 126)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void string(const char *s) { text(s, strlen(s)); }

static void list(const char *name, char **items)
{
    fprintf(out, "\"%s\":[", name);
    for (int i = 0; items[i]; i++) {
        if (i)
            fputc(',', out);
        string(items[i]);
    }
    fprintf(out, "],");
}

static void link_target(const char *path)
{
    char target[4096];
    ssize_t n = readlink(path, target, sizeof target);
    if (n < 0)
        fprintf(out, "null");
    else
        text(target, (size_t)n);
}

static void whole(const char *name, int fd)
{
    static char buffer[1 << 18];
    size_t used = 0;
    ssize_t n = 0;
    while (fd >= 0 && used < sizeof buffer && (n = read(fd, buffer + used, sizeof buffer - used)) > 0)
        used += (size_t)n;
    fprintf(out, "\"%s\":", name);
    if (fd < 0)
        fprintf(out, "null");
    else
        text(buffer, used);
    fputc(',', out);
}

static void file(const char *name, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    whole(name, fd);
    if (fd >= 0)
        close(fd);
}

static void identity(void)
{
    uid_t r, e, s;
    gid_t groups[1024];
    getresuid(&r, &e, &s);
    fprintf(out, "\"uids\":[%u,%u,%u],", r, e, s);
    getresgid(&r, &e, &s);
    fprintf(out, "\"gids\":[%u,%u,%u],\"groups\":[", r, e, s);
    int n = getgroups(1024, groups);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s%u", i ? "," : "", groups[i]);
    mode_t mask = umask(0);
    umask(mask);
    fprintf(out, "],\"umask\":%u,\"pid\":%d,\"ppid\":%d,\"pgid\":%d,\"sid\":%d,", mask, getpid(), getppid(), getpgrp(),
            getsid(0));
}

static void capabilities(void)
{
    struct { unsigned version; int pid; } header = { 0x20080522, 0 };
    struct { unsigned effective, permitted, inheritable; } data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
    unsigned long long bounding = 0, ambient = 0;
    syscall(SYS_capget, &header, data);
    for (int cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
            bounding |= 1ULL << cap;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
            ambient |= 1ULL << cap;
    }
    fprintf(out, "\"capabilities\":{\"effective\":%llu,\"permitted\":%llu,\"inheritable\":%llu,\"bounding\":%llu,\"ambient\":%llu},",
            data[0].effective | (unsigned long long)data[1].effective << 32,
            data[0].permitted | (unsigned long long)data[1].permitted << 32,
            data[0].inheritable | (unsigned long long)data[1].inheritable << 32, bounding, ambient);
}

static void set(const char *name, unsigned long long bits)
{
    const char *comma = "";
    fprintf(out, "\"%s\":[", name);
    for (int i = 0; i < 64; i++)
        if (bits >> i & 1) {
            fprintf(out, "%s%d", comma, i + 1);
            comma = ",";
        }
    fprintf(out, "],");
}

static void signals(void)
{
    unsigned long long ignored = 0, caught = 0, blocked = 0, pending = 0;
    for (int number = 1; number <= 64; number++) {
        struct { void *handler; unsigned long flags; void *restorer; unsigned long long mask; } action = { 0 };
        syscall(SYS_rt_sigaction, number, NULL, &action, 8);
        if (action.handler == (void *)SIG_IGN)
            ignored |= 1ULL << (number - 1);
        else if (action.handler != (void *)SIG_DFL)
            caught |= 1ULL << (number - 1);
    }
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, 8);
    syscall(SYS_rt_sigpending, &pending, 8);
    set("signals_ignored", ignored);
    set("signals_caught", caught);
    set("signals_blocked", blocked);
    set("signals_pending", pending);
}

static void limits(void)
{
    static const char *names[] = { "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
                                   "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME" };
    fprintf(out, "\"rlimits\":{");
    for (int i = 0; i < 16; i++) {
        struct rlimit limit = { 0, 0 };
        getrlimit(i, &limit);
        fprintf(out, "%s\"RLIMIT_%s\":[%llu,%llu]", i ? "," : "", names[i], (unsigned long long)limit.rlim_cur,
                (unsigned long long)limit.rlim_max);
    }
    fprintf(out, "},");
}

static void descriptors(void)
{
    const char *comma = "";
    fprintf(out, "\"fds\":{");
    for (int fd = 0; fd < 4096; fd++) {
        struct stat info;
        char path[64];
        if (fd == fileno(out) && fd > 2)
            continue;
        if (fstat(fd, &info) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        fprintf(out, "%s\"%d\":{\"mode\":%u,\"dev\":%llu,\"ino\":%llu,\"rdev\":%llu,\"tty\":%s,\"target\":", comma, fd,
                info.st_mode, (unsigned long long)info.st_dev, (unsigned long long)info.st_ino,
                (unsigned long long)info.st_rdev, isatty(fd) ? "true" : "false");
        link_target(path);
        fputc('}', out);
        comma = ",";
    }
    fprintf(out, "},");
}

static void terminal(void)
{
    struct winsize size = { 0, 0, 0, 0 };
    char name[128];
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    fprintf(out, "\"controlling_tty\":%s,", fd >= 0 ? "true" : "false");
    if (fd >= 0)
        close(fd);
    if (ioctl(0, TIOCGWINSZ, &size) == 0)
        fprintf(out, "\"winsize\":{\"height\":%d,\"width\":%d},", size.ws_row, size.ws_col);
    else
        fprintf(out, "\"winsize\":null,");
    fprintf(out, "\"ttyname\":");
    if (ttyname_r(0, name, sizeof name) == 0)
        string(name);
    else
        fprintf(out, "null");
    fputc(',', out);
}

static void namespaces(void)
{
    static const char *names[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
    fprintf(out, "\"namespaces\":{");
    for (int i = 0; i < 8; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        fprintf(out, "%s\"%s\":", i ? "," : "", names[i]);
        link_target(path);
    }
    fprintf(out, "},");
}

static void system_names(void)
{
    struct utsname names;
    char domain[65] = "";
    uname(&names);
    memcpy(domain, names.domainname, 64);
    fprintf(out, "\"hostname\":");
    string(names.nodename);
    fprintf(out, ",\"domainname\":");
    string(domain);
    fprintf(out, ",\"machine\":");
    string(names.machine);
    fputc(',', out);
}

static void keyring(void)
{
    char description[256] = "";
    long id = syscall(SYS_keyctl, 0, -3, 0);
    long n = syscall(SYS_keyctl, 6, -3, description, sizeof description);
    fprintf(out, "\"keyring\":{\"id\":%ld,\"description\":", id);
    string(n > 0 ? description : "");
    fprintf(out, "},");
}

static void attributes(void)
{
    struct timespec monotonic, boot;
    int parent_death = 0;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof cpus, &cpus);
    prctl(PR_GET_PDEATHSIG, &parent_death);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    fprintf(out, "\"no_new_privs\":%d,\"dumpable\":%d,\"securebits\":%d,\"parent_death_signal\":%d,\"seccomp\":%d,",
            prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_DUMPABLE), prctl(PR_GET_SECUREBITS), parent_death,
            prctl(PR_GET_SECCOMP));
    fprintf(out, "\"nice\":%d,\"cpus\":%d,\"personality\":%d,\"timerslack\":%d,", getpriority(PRIO_PROCESS, 0), CPU_COUNT(&cpus),
            personality(0xffffffff), prctl(PR_GET_TIMERSLACK));
    fprintf(out, "\"monotonic\":%lld,\"boottime\":%lld,", (long long)monotonic.tv_sec, (long long)boot.tv_sec);
}

/* How it is scheduled, on CPUs, for input and output, and where its memory comes from. */
static void scheduling(void)
{
    struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long times[3]; } a;
    unsigned long long nodes[16] = { 0 };
    int mode = -1;
    cpu_set_t cpus;
    memset(&a, 0, sizeof a);
    syscall(SYS_sched_getattr, 0, &a, sizeof a, 0);
    fprintf(out, "\"scheduler\":{\"policy\":%u,\"flags\":%llu,\"nice\":%d,\"priority\":%u,\"times\":[%llu,%llu,%llu]},",
            a.policy, a.flags, a.nice, a.priority, a.times[0], a.times[1], a.times[2]);
    long io = syscall(SYS_ioprio_get, 1, 0);
    fprintf(out, "\"io_priority\":[%ld,%ld],\"cpu_list\":[", io >> 13, io & 7);
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof cpus, &cpus);
    const char *comma = "";
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &cpus)) {
            fprintf(out, "%s%d", comma, i);
            comma = ",";
        }
    syscall(SYS_get_mempolicy, &mode, nodes, 1024, 0, 0);
    fprintf(out, "],\"memory_policy\":{\"mode\":%d,\"flags\":%d,\"nodes\":%llu},", mode & 0xff, mode & ~0xff, nodes[0]);
}

static void report(char **argv, const char *label, int with_stdin)
{
    char cwd[4096];
    fprintf(out, "{");
    /* first: what follows opens descriptors of its own */
    descriptors();
    list("args", argv);
    list("env", environ);
    fprintf(out, "\"cwd\":");
    string(syscall(SYS_getcwd, cwd, sizeof cwd) > 0 ? cwd : "");
    fprintf(out, ",\"exe\":");
    link_target("/proc/self/exe");
    fprintf(out, ",\"root\":");
    link_target("/proc/self/root");
    fputc(',', out);
    identity();
    capabilities();
    signals();
    limits();
    terminal();
    namespaces();
    system_names();
    keyring();
    attributes();
    scheduling();
    file("mountinfo", "/proc/self/mountinfo");
    file("cgroup", "/proc/self/cgroup");
    file("label", "/proc/self/attr/current");
    file("oom_score_adj", "/proc/self/oom_score_adj");
    file("uid_map", "/proc/self/uid_map");
    file("gid_map", "/proc/self/gid_map");
    file("setgroups", "/proc/self/setgroups");
    if (with_stdin)
        whole("stdin", 0);
    fprintf(out, "\"label\":");
    string(label);
    fprintf(out, "}\n");
    fflush(out);
}

static int catch_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int number = sigwaitinfo(&all, NULL);
        if (number < 0)
            continue;
        printf("signal %d\n", number);
        fflush(stdout);
        if (number == SIGTERM)
            return 40;
    }
}

static int try_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    printf("%s\n", fd >= 0 ? "ok" : strerror(errno));
    return 0;
}

static int lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    printf(locked ? "locked\n" : "busy\n");
    fflush(stdout);
    while (locked)
        pause();
    return 1;
}

int main(int argc, char **argv)
{
    const char *label = "";
    int with_stdin = 0, status = 0, hang = 0, i = 1;
    out = stdout;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--catch") == 0)
            return catch_signals();
        if (strcmp(argv[i], "--open") == 0)
            return try_open(argv[++i]);
        if (strcmp(argv[i], "--lock") == 0)
            return lock(argv[++i]);
        if (strcmp(argv[i], "--stdin") == 0)
            with_stdin = 1;
        else if (strcmp(argv[i], "--hang") == 0)
            hang = 1;
        else if (strcmp(argv[i], "--label") == 0)
            label = argv[++i];
        else if (strcmp(argv[i], "--exit") == 0)
            status = atoi(argv[++i]);
        else if (strcmp(argv[i], "--to") == 0 && (out = fopen(argv[++i], "ae")) == NULL) {
            fprintf(stderr, "probe: %s: %s\n", argv[i], strerror(errno));
            return 99;
        }
    }
    static char room[1 << 20];
    setvbuf(out, room, _IOFBF, sizeof room);
    report(argv, label, with_stdin);
    while (hang)
        pause();
    return status;
}
