/* The floor: what the kernel takes for a container as boxes.run makes it, without a runtime. The same namespaces, cgroups
 * (v1, with v2 beside it if it is there, or v2), mounts, masks, filter and identity, in a straight line and without looking.
 *
 *     floor ROOTFS NAME FILTER HIERARCHY...      FILTER: the seccomp program; HIERARCHY: mount points, v2 as "=PATH"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int failed, const char *what) {
    if (failed) {
        perror(what);
        _exit(125);
    }
}

static const char *const masked[] = {"proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys",
                                     "proc/latency_stats", "proc/sched_debug", "proc/scsi", "proc/timer_list",
                                     "proc/timer_stats", "sys/devices/virtual/powercap", "sys/firmware"};
static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
static const struct {
    const char *name;
    int major, minor;
} devices[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
static const char *const allowed[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
                                      "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};

static void write_file(int directory, const char *name, const char *text) {
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    check(fd < 0 || write(fd, text, strlen(text)) < 0, name);
    close(fd);
}

static void mask(const char *path) {
    struct stat facts;
    if (stat(path, &facts) < 0)
        return;
    if (S_ISDIR(facts.st_mode))
        check(mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0") < 0, path);
    else
        check(mount("/dev/null", path, NULL, MS_BIND, NULL) < 0, path);
}

static void mounts(const char *rootfs) {
    check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0, "slave");
    check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(rootfs) < 0, "root");
    check(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0, "proc");
    check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_STRICTATIME, "mode=755,size=65536") < 0, "dev");
    mkdir("dev/pts", 0755);
    mkdir("dev/shm", 0755);
    check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0, "pts");
    check(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k") < 0, "shm");
    check(mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0, "sys");
    check(mount("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=65536k") < 0, "tmp");
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        check(mknod(devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) < 0, "mknod");
    check(symlink("/proc/self/fd", "dev/fd") || symlink("/proc/self/fd/0", "dev/stdin") || symlink("/proc/self/fd/1", "dev/stdout") ||
              symlink("/proc/self/fd/2", "dev/stderr") || symlink("pts/ptmx", "dev/ptmx"), "links");
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++)
        mask(masked[i]);
    for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++) {
        if (access(readonly[i], F_OK) < 0)
            continue;
        check(mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0, readonly[i]);
        check(mount(NULL, readonly[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0, "remount");
    }
    check(mount(NULL, rootfs, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0, "read-only root");
    check(syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0, "pivot_root");
}

static void identity(const struct sock_fprog *filter) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        prctl(PR_CAPBSET_DROP, capability);
    check(syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 65534, 65534, 65534) < 0 ||
              syscall(SYS_setresuid, 65534, 65534, 65534) < 0 || syscall(SYS_capset, &head, none) < 0, "identity");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) < 0, "filter");
}

static void loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    request.ifr_flags = IFF_UP;
    check(ioctl(fd, SIOCSIFFLAGS, &request) < 0, "lo");
    close(fd);
}

int main(int argc, char **argv) {
    static char code[1 << 16], path[4096];
    int filter = open(argv[3], O_RDONLY), into = -1, tasks[16], count = 0;
    struct sock_fprog program = {.len = (unsigned short)(read(filter, code, sizeof code) / 8), .filter = (void *)code};
    for (int i = 4; i < argc && count < 16; i++) {
        int unified = argv[i][0] == '=';
        snprintf(path, sizeof path, "%s/%s", argv[i] + unified, argv[2]);
        check(mkdir(path, 0755) < 0, path);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (strstr(path, "/devices/")) {
            write_file(fd, "devices.deny", "a");
            for (size_t j = 0; j < sizeof allowed / sizeof *allowed; j++)
                write_file(fd, "devices.allow", allowed[j]);
        }
        if (unified)
            into = fd;
        else
            tasks[count++] = openat(fd, "tasks", O_WRONLY | O_CLOEXEC);
    }
    struct clone_args how = {
        .flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | (into >= 0 ? CLONE_INTO_CGROUP : 0),
        .exit_signal = SIGCHLD, .cgroup = into >= 0 ? (uint64_t)into : 0,
    };
    long pid = syscall(SYS_clone3, &how, sizeof how);
    check(pid < 0, "clone3");
    if (pid == 0) {
        for (int i = 0; i < count; i++)
            check(write(tasks[i], "0", 1) < 0, "tasks");
        check(unshare(CLONE_NEWCGROUP) < 0 || sethostname("box", 3) < 0, "names");
        loopback();
        mounts(argv[1]);
        identity(&program);
        execl("/bin/true", "/bin/true", NULL);
        check(1, "execve");
    }
    int status;
    waitpid((pid_t)pid, &status, 0);
    for (int i = 4; i < argc; i++) {
        snprintf(path, sizeof path, "%s/%s", argv[i] + (argv[i][0] == '='), argv[2]);
        check(rmdir(path) < 0, path);
    }
    return WEXITSTATUS(status);
}
