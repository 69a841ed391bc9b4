/* boxes.linux._syscalls: system calls that Python's library lacks, one function each, and the compiler of libseccomp.
 *
 * Nothing is decided here: flags, defaults and messages are boxes.linux.syscalls'. Each function raises the builtin
 * OSError. The limited API (3.11), so that one build serves every later Python.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/vfs.h>
#include <unistd.h>

/* struct mount_attr of <linux/mount.h>, which cannot be included beside <sys/mount.h>. */
struct attributes {
    uint64_t set, clear, propagation, userns;
};

static PyObject *result(long value) {
    return value < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(value);
}

/* Make one system call without the interpreter's lock and keep its errno. */
#define UNLOCKED(value, call) \
    do { \
        Py_BEGIN_ALLOW_THREADS value = (call); \
        Py_END_ALLOW_THREADS \
    } while (0)

/* An optional path: None stands for NULL. */
static int optional_path(PyObject *object, void *slot) {
    if (object == Py_None) {
        *(PyObject **)slot = NULL;
        return 1;
    }
    return PyUnicode_FSConverter(object, slot);
}

static const char *text(PyObject *bytes) {
    return bytes ? PyBytes_AsString(bytes) : NULL;
}

static PyObject *py_openat2(PyObject *self, PyObject *args) {
    (void)self;
    int directory;
    PyObject *path;
    struct open_how how = {0};
    unsigned long long flags, mode, resolve;
    if (!PyArg_ParseTuple(args, "iO&KKK:openat2", &directory, PyUnicode_FSConverter, &path, &flags, &mode, &resolve))
        return NULL;
    how.flags = flags;
    how.mode = mode;
    how.resolve = resolve;
    long value;
    UNLOCKED(value, syscall(SYS_openat2, directory, text(path), &how, sizeof how));
    PyObject *made = result(value);
    Py_DECREF(path);
    return made;
}

/* clone3(flags, exit_signal, cgroup) -> (pid, pidfd); (0, -1) in the child. A fork as far as Python is concerned. */
static PyObject *py_clone3(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long flags;
    int exit_signal, cgroup, pidfd = -1;
    if (!PyArg_ParseTuple(args, "Kii:clone3", &flags, &exit_signal, &cgroup))
        return NULL;
    struct clone_args how = {
        .flags = flags | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = (uint64_t)exit_signal,
    };
    if (cgroup >= 0) {
        how.flags |= CLONE_INTO_CGROUP;
        how.cgroup = (uint64_t)cgroup;
    }
    PyOS_BeforeFork();
    long pid = syscall(SYS_clone3, &how, sizeof how);
    int error = errno;
    if (pid == 0)
        PyOS_AfterFork_Child();
    else
        PyOS_AfterFork_Parent();
    if (pid < 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("li", pid, pid == 0 ? -1 : pidfd);
}

/* ---- a child in this process's memory ---- */

static void below(struct clone_args *how) {
    enum { APART = 64 << 10, STACK = 1 << 20 };
    how->flags |= CLONE_VM | CLONE_VFORK;
    how->stack = (((uint64_t)(uintptr_t)how & ~(uint64_t)15) - APART) - STACK;
    how->stack_size = STACK;
}

/* clone3(2) as vfork(2), on a part of the stack far below ours: the child calls `child` there, which must not return. */
static long clone_onto(struct clone_args *how, void (*child)(void *), void *argument) {
#if defined(__x86_64__)
    long value;
    below(how);
    register void (*to)(void *) __asm__("r8") = child;
    register void *with __asm__("r9") = argument;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\tmov %%r9, %%rdi\n\tcall *%%r8\n\thlt\n1:"
                     : "=a"(value)
                     : "a"(SYS_clone3), "D"(how), "S"(sizeof *how), "r"(to), "r"(with)
                     : "rcx", "r11", "cc", "memory");
#elif defined(__aarch64__)
    below(how);
    register long value __asm__("x0") = (long)how;
    register long size __asm__("x1") = sizeof *how;
    register void (*to)(void *) __asm__("x2") = child;
    register void *with __asm__("x3") = argument;
    register long number __asm__("x8") = SYS_clone3;
    __asm__ volatile("svc 0\n\tcbnz x0, 1f\n\tmov x29, xzr\n\tmov x0, x3\n\tblr x2\n\tbrk 1\n1:"
                     : "+r"(value)
                     : "r"(size), "r"(to), "r"(with), "r"(number)
                     : "cc", "memory");
#endif
    if (value < 0) {
        errno = (int)-value;
        return -1;
    }
    return value;
}

static void call_and_exit(void *body) {
    PyObject_CallNoArgs((PyObject *)body);
    _exit(1);
}

/* clone_shared(flags, cgroup, body) -> (pid, pidfd): as vfork(2) does, but the child calls `body`. It runs in this
 * process's memory while this process waits until it executes a program or ends. As it never returns, it has a thread
 * state of its own. */
static PyObject *py_clone_shared(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long flags;
    int cgroup, pidfd = -1;
    PyObject *body;
    if (!PyArg_ParseTuple(args, "KiO:clone_shared", &flags, &cgroup, &body))
        return NULL;
    PyThreadState *own = PyThreadState_Get();
    PyThreadState *lent = PyThreadState_New(PyThreadState_GetInterpreter(own));
    if (!lent)
        return PyErr_NoMemory();
    struct clone_args how = {
        .flags = flags | CLONE_PIDFD | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
    };
    PyThreadState_Swap(lent);
    long pid = clone_onto(&how, call_and_exit, body);
    int error = errno;
    PyThreadState_Swap(own);
    PyThreadState_Clear(lent);
    PyThreadState_Delete(lent);
    errno = error;
    return pid < 0 ? PyErr_SetFromErrno(PyExc_OSError) : Py_BuildValue("li", pid, pidfd);
}

static PyObject *py_unshare(PyObject *self, PyObject *args) {
    (void)self;
    int flags;
    long value;
    if (!PyArg_ParseTuple(args, "i:unshare", &flags))
        return NULL;
    UNLOCKED(value, syscall(SYS_unshare, flags));
    return result(value);
}

static PyObject *py_setns(PyObject *self, PyObject *args) {
    (void)self;
    int fd, type;
    long value;
    if (!PyArg_ParseTuple(args, "ii:setns", &fd, &type))
        return NULL;
    UNLOCKED(value, syscall(SYS_setns, fd, type));
    return result(value);
}

static PyObject *py_fsopen(PyObject *self, PyObject *args) {
    (void)self;
    const char *type;
    unsigned flags;
    long value;
    if (!PyArg_ParseTuple(args, "sI:fsopen", &type, &flags))
        return NULL;
    UNLOCKED(value, syscall(SYS_fsopen, type, flags));
    return result(value);
}

/* fsconfig(fd, command, key, value, aux): key and value are None or a string. */
static PyObject *py_fsconfig(PyObject *self, PyObject *args) {
    (void)self;
    int fd, aux;
    unsigned command;
    PyObject *key = NULL, *setting = NULL;
    if (!PyArg_ParseTuple(args, "iIO&O&i:fsconfig", &fd, &command, optional_path, &key, optional_path, &setting, &aux)) {
        Py_XDECREF(key);
        return NULL;
    }
    long value;
    UNLOCKED(value, syscall(SYS_fsconfig, fd, command, text(key), text(setting), aux));
    PyObject *made = result(value);
    Py_XDECREF(key);
    Py_XDECREF(setting);
    return made;
}

static PyObject *py_fsmount(PyObject *self, PyObject *args) {
    (void)self;
    int fd;
    unsigned flags, attributes;
    long value;
    if (!PyArg_ParseTuple(args, "iII:fsmount", &fd, &flags, &attributes))
        return NULL;
    UNLOCKED(value, syscall(SYS_fsmount, fd, flags, attributes));
    return result(value);
}

static PyObject *py_open_tree(PyObject *self, PyObject *args) {
    (void)self;
    int directory;
    unsigned flags;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "iO&I:open_tree", &directory, PyUnicode_FSConverter, &path, &flags))
        return NULL;
    long value;
    UNLOCKED(value, syscall(SYS_open_tree, directory, text(path), flags));
    PyObject *made = result(value);
    Py_DECREF(path);
    return made;
}

static PyObject *py_move_mount(PyObject *self, PyObject *args) {
    (void)self;
    int from, to;
    unsigned flags;
    PyObject *source = NULL, *target = NULL;
    if (!PyArg_ParseTuple(args, "iO&iO&I:move_mount", &from, PyUnicode_FSConverter, &source, &to, PyUnicode_FSConverter,
                          &target, &flags)) {
        Py_XDECREF(source);
        return NULL;
    }
    long value;
    UNLOCKED(value, syscall(SYS_move_mount, from, text(source), to, text(target), flags));
    PyObject *made = result(value);
    Py_DECREF(source);
    Py_DECREF(target);
    return made;
}

/* mount_setattr(directory, path, flags, set, clear, propagation, userns descriptor) */
static PyObject *py_mount_setattr(PyObject *self, PyObject *args) {
    (void)self;
    int directory;
    unsigned flags;
    unsigned long long set, clear, propagation, userns;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "iO&IKKKK:mount_setattr", &directory, PyUnicode_FSConverter, &path, &flags, &set, &clear,
                          &propagation, &userns))
        return NULL;
    struct attributes how = {.set = set, .clear = clear, .propagation = propagation, .userns = userns};
    long value;
    UNLOCKED(value, syscall(SYS_mount_setattr, directory, text(path), flags, &how, sizeof how));
    PyObject *made = result(value);
    Py_DECREF(path);
    return made;
}

static PyObject *py_mount(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long flags;
    PyObject *fields[4] = {NULL};
    PyObject *made = NULL;
    if (PyArg_ParseTuple(args, "O&O&O&kO&:mount", optional_path, &fields[0], optional_path, &fields[1], optional_path,
                         &fields[2], &flags, optional_path, &fields[3])) {
        long value;
        UNLOCKED(value, mount(text(fields[0]), text(fields[1]), text(fields[2]), flags, text(fields[3])));
        made = result(value);
    }
    for (int i = 0; i < 4; i++)
        Py_XDECREF(fields[i]);
    return made;
}

static PyObject *py_umount2(PyObject *self, PyObject *args) {
    (void)self;
    int flags;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "O&i:umount2", PyUnicode_FSConverter, &path, &flags))
        return NULL;
    long value;
    UNLOCKED(value, umount2(text(path), flags));
    PyObject *made = result(value);
    Py_DECREF(path);
    return made;
}

static PyObject *py_prctl(PyObject *self, PyObject *args) {
    (void)self;
    int option;
    unsigned long values[4] = {0};
    if (!PyArg_ParseTuple(args, "i|kkkk:prctl", &option, &values[0], &values[1], &values[2], &values[3]))
        return NULL;
    return result(prctl(option, values[0], values[1], values[2], values[3]));
}

/* capset(mask): effective and permitted, of the calling thread; nothing is inheritable */
static PyObject *py_capset(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long mask;
    if (!PyArg_ParseTuple(args, "K:capset", &mask))
        return NULL;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (unsigned)mask, .permitted = (unsigned)mask},
        {.effective = (unsigned)(mask >> 32), .permitted = (unsigned)(mask >> 32)},
    };
    return result(syscall(SYS_capset, &header, data));
}

/* prlimit(pid, resource, limits or None) -> (soft, hard) as they were */
static PyObject *py_prlimit(PyObject *self, PyObject *args) {
    (void)self;
    int pid, resource;
    unsigned long long soft = 0, hard = 0;
    int write = PyTuple_Size(args) == 4;
    if (!PyArg_ParseTuple(args, "ii|KK:prlimit", &pid, &resource, &soft, &hard))
        return NULL;
    struct rlimit64 new = {.rlim_cur = soft, .rlim_max = hard}, old;
    if (syscall(SYS_prlimit64, pid, resource, write ? &new : NULL, &old) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("KK", (unsigned long long)old.rlim_cur, (unsigned long long)old.rlim_max);
}

static PyObject *py_close_range(PyObject *self, PyObject *args) {
    (void)self;
    unsigned first, last, flags;
    if (!PyArg_ParseTuple(args, "III:close_range", &first, &last, &flags))
        return NULL;
    return result(syscall(SYS_close_range, first, last, flags));
}

static PyObject *py_sethostname(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#:sethostname", &name, &size))
        return NULL;
    return result(sethostname(name, (size_t)size));
}

static PyObject *py_setdomainname(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#:setdomainname", &name, &size))
        return NULL;
    return result(setdomainname(name, (size_t)size));
}

/* fstatfs(fd) -> f_type, the magic number of linux/magic.h */
static PyObject *py_fstatfs(PyObject *self, PyObject *args) {
    (void)self;
    int fd;
    struct statfs facts;
    if (!PyArg_ParseTuple(args, "i:fstatfs", &fd))
        return NULL;
    if (fstatfs(fd, &facts) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromUnsignedLong((unsigned long)(uint32_t)facts.f_type);
}

/* bpf(command, attributes): attributes is a writable buffer laid out as union bpf_attr. */
static PyObject *py_bpf(PyObject *self, PyObject *args) {
    (void)self;
    int command;
    PyObject *attributes;
    if (!PyArg_ParseTuple(args, "iO:bpf", &command, &attributes))
        return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(attributes, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    long value;
    UNLOCKED(value, syscall(SYS_bpf, command, view.buf, view.len));
    PyObject *made = result(value);
    PyBuffer_Release(&view);
    return made;
}

/* address(buffer) -> where its bytes lie, for structures that hold pointers. Valid while the buffer lives, unresized. */
static PyObject *py_address(PyObject *self, PyObject *buffer) {
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *made = PyLong_FromVoidPtr(view.buf);
    PyBuffer_Release(&view);
    return made;
}

/* A NULL-terminated vector of the strings in a list of bytes, which keeps them alive. */
static char **vector(PyObject *list) {
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "expected a list of bytes");
        return NULL;
    }
    Py_ssize_t count = PyList_Size(list);
    char **strings = PyMem_Calloc((size_t)count + 1, sizeof *strings);
    if (!strings) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        strings[i] = PyBytes_AsString(PyList_GetItem(list, i));
        if (!strings[i]) {
            PyMem_Free(strings);
            return NULL;
        }
    }
    return strings;
}

/* execveat(fd, argv, envp): execute what the descriptor refers to. Returns only by an error. */
static PyObject *py_execveat(PyObject *self, PyObject *args) {
    (void)self;
    int fd;
    PyObject *arguments, *environment;
    if (!PyArg_ParseTuple(args, "iOO:execveat", &fd, &arguments, &environment))
        return NULL;
    char **argv = vector(arguments);
    char **envp = argv ? vector(environment) : NULL;
    if (envp) {
        syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
        PyErr_SetFromErrno(PyExc_OSError);
    }
    PyMem_Free(argv);
    PyMem_Free(envp);
    return NULL;
}

/* spawn(fd, arguments, cgroup) -> the pid of a child that executes fd with an empty environment, born in a v2 cgroup
 * (-1: in ours), which takes clone3. Until it has executed, this process waits, and no Python runs in it. */
struct program {
    int fd;
    char **argv;
    volatile int error; /* of execveat(2): the memory is shared */
};

static void execute(void *argument) {
    struct program *program = argument;
    char *none[] = {NULL};
    syscall(SYS_execveat, program->fd, "", program->argv, none, AT_EMPTY_PATH);
    program->error = errno;
    _exit(127);
}

static PyObject *py_spawn(PyObject *self, PyObject *args) {
    (void)self;
    int fd, cgroup;
    PyObject *arguments;
    if (!PyArg_ParseTuple(args, "iOi:spawn", &fd, &arguments, &cgroup))
        return NULL;
    char **argv = vector(arguments);
    if (!argv)
        return NULL;
    struct clone_args how = {.exit_signal = SIGCHLD};
    if (cgroup >= 0) {
        how.flags |= CLONE_INTO_CGROUP;
        how.cgroup = (uint64_t)cgroup;
    }
    struct program program = {.fd = fd, .argv = argv};
    long pid = clone_onto(&how, execute, &program);
    if (pid >= 0 && program.error) {
        waitpid((pid_t)pid, NULL, 0);
        errno = program.error;
        pid = -1;
    }
    PyMem_Free(argv);
    return result(pid);
}

static PyObject *py_pidfd_getfd(PyObject *self, PyObject *args) {
    (void)self;
    int pidfd, fd;
    long value;
    if (!PyArg_ParseTuple(args, "ii:pidfd_getfd", &pidfd, &fd))
        return NULL;
    UNLOCKED(value, syscall(SYS_pidfd_getfd, pidfd, fd, 0));
    return result(value);
}

static PyObject *py_inotify_init(PyObject *self, PyObject *args) {
    (void)self;
    int flags;
    if (!PyArg_ParseTuple(args, "i:inotify_init", &flags))
        return NULL;
    return result(inotify_init1(flags));
}

static PyObject *py_inotify_add_watch(PyObject *self, PyObject *args) {
    (void)self;
    int fd;
    unsigned mask;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "iO&I:inotify_add_watch", &fd, PyUnicode_FSConverter, &path, &mask))
        return NULL;
    PyObject *made = result(inotify_add_watch(fd, text(path), mask));
    Py_DECREF(path);
    return made;
}

/* seccomp(operation, flags, data): data is None or what the operation reads. */
static PyObject *py_seccomp(PyObject *self, PyObject *args) {
    (void)self;
    unsigned operation, flags;
    const char *data;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "IIz#:seccomp", &operation, &flags, &data, &size))
        return NULL;
    return result(syscall(SYS_seccomp, operation, flags, data));
}

/* ---- libseccomp(3), loaded when it is first asked for ---- */

struct version {
    unsigned major, minor, micro;
};
static struct {
    const struct version *(*version)(void);
    int (*resolve)(uint32_t architecture, const char *name);
    void *(*init)(uint32_t action);
    int (*set)(void *filter, int attribute, uint32_t value);
    int (*add_architecture)(void *filter, uint32_t architecture);
    int (*add_rule)(void *filter, uint32_t action, int call, unsigned count, const void *conditions);
    int (*export)(const void *filter, int fd);
    void (*release)(void *filter);
} library;
static const char *const library_names[] = {
    "seccomp_version", "seccomp_syscall_resolve_name_arch", "seccomp_init", "seccomp_attr_set", "seccomp_arch_add",
    "seccomp_rule_add_array", "seccomp_export_bpf", "seccomp_release",
};

/* Raises ImportError. */
static int load_library(void) {
    enum { COUNT = sizeof library_names / sizeof *library_names };
    void *found[COUNT];
    _Static_assert(sizeof found == sizeof library, "a name for each function");
    if (library.release)
        return 1;
    void *handle = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
    for (int i = 0; handle && i < COUNT; i++) {
        found[i] = dlsym(handle, library_names[i]);
        if (!found[i])
            handle = NULL;
    }
    if (!handle) {
        PyErr_SetString(PyExc_ImportError, dlerror());
        return 0;
    }
    memcpy(&library, found, sizeof library);
    return 1;
}

/* seccomp_library() -> (path, (major, minor, micro)) */
static PyObject *py_seccomp_library(PyObject *self, PyObject *args) {
    (void)self;
    (void)args;
    Dl_info file;
    if (!load_library())
        return NULL;
    const struct version *version = library.version();
    const char *path = dladdr((const void *)version, &file) ? file.dli_fname : "";
    return Py_BuildValue("s(III)", path, version->major, version->minor, version->micro);
}

/* seccomp_number(architecture, name) -> the number of a system call there, or below 0 */
static PyObject *py_seccomp_number(PyObject *self, PyObject *args) {
    (void)self;
    unsigned architecture;
    const char *name;
    if (!PyArg_ParseTuple(args, "Is:seccomp_number", &architecture, &name) || !load_library())
        return NULL;
    return PyLong_FromLong(library.resolve(architecture, name));
}

/* What a filter is made of, in order: an attribute and its value, an architecture, or a rule. */
struct part {
    enum { ATTRIBUTE, ARCHITECTURE, RULE } kind;
    uint32_t value;
    int32_t number;
    uint32_t count;
    struct {
        uint32_t argument, comparison;
        uint64_t operands[2];
    } conditions[6];
};

/* seccomp_compile(action, parts, fd) -> (how many parts were taken, errno): the program is written to fd. */
static PyObject *py_seccomp_compile(PyObject *self, PyObject *args) {
    (void)self;
    unsigned action;
    int fd;
    Py_buffer parts;
    if (!load_library() || !PyArg_ParseTuple(args, "Iy*i:seccomp_compile", &action, &parts, &fd))
        return NULL;
    const struct part *part = parts.buf, *end = part + (size_t)parts.len / sizeof *part;
    void *filter = library.init(action);
    int error = filter ? 0 : -EINVAL;
    for (; !error && part < end; part += !error) {
        if (part->kind == ATTRIBUTE)
            error = library.set(filter, part->number, part->value);
        else if (part->kind == ARCHITECTURE)
            error = library.add_architecture(filter, part->value);
        else
            error = library.add_rule(filter, part->value, part->number, part->count, part->conditions);
    }
    if (!error)
        error = library.export(filter, fd);
    if (filter)
        library.release(filter);
    PyObject *made = Py_BuildValue("ni", (Py_ssize_t)(part - (const struct part *)parts.buf), -error);
    PyBuffer_Release(&parts);
    return made;
}

static PyObject *py_madvise(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long start, size;
    int advice;
    if (!PyArg_ParseTuple(args, "KKi:madvise", &start, &size, &advice))
        return NULL;
    return result(madvise((void *)(uintptr_t)start, (size_t)size, advice));
}

static PyObject *py_renameat2(PyObject *self, PyObject *args) {
    (void)self;
    int old_directory, new_directory;
    unsigned flags;
    PyObject *old_path, *new_path;
    if (!PyArg_ParseTuple(args, "iO&iO&I:renameat2", &old_directory, PyUnicode_FSConverter, &old_path, &new_directory,
                          PyUnicode_FSConverter, &new_path, &flags))
        return NULL;
    long value;
    UNLOCKED(value, syscall(SYS_renameat2, old_directory, text(old_path), new_directory, text(new_path), flags));
    PyObject *made = result(value);
    Py_DECREF(old_path);
    Py_DECREF(new_path);
    return made;
}

static PyMethodDef methods[] = {
    {"openat2", py_openat2, METH_VARARGS, NULL},
    {"clone3", py_clone3, METH_VARARGS, NULL},
    {"clone_shared", py_clone_shared, METH_VARARGS, NULL},
    {"unshare", py_unshare, METH_VARARGS, NULL},
    {"setns", py_setns, METH_VARARGS, NULL},
    {"fsopen", py_fsopen, METH_VARARGS, NULL},
    {"fsconfig", py_fsconfig, METH_VARARGS, NULL},
    {"fsmount", py_fsmount, METH_VARARGS, NULL},
    {"open_tree", py_open_tree, METH_VARARGS, NULL},
    {"move_mount", py_move_mount, METH_VARARGS, NULL},
    {"mount_setattr", py_mount_setattr, METH_VARARGS, NULL},
    {"mount", py_mount, METH_VARARGS, NULL},
    {"umount2", py_umount2, METH_VARARGS, NULL},
    {"prctl", py_prctl, METH_VARARGS, NULL},
    {"capset", py_capset, METH_VARARGS, NULL},
    {"prlimit", py_prlimit, METH_VARARGS, NULL},
    {"close_range", py_close_range, METH_VARARGS, NULL},
    {"sethostname", py_sethostname, METH_VARARGS, NULL},
    {"setdomainname", py_setdomainname, METH_VARARGS, NULL},
    {"fstatfs", py_fstatfs, METH_VARARGS, NULL},
    {"bpf", py_bpf, METH_VARARGS, NULL},
    {"address", py_address, METH_O, NULL},
    {"execveat", py_execveat, METH_VARARGS, NULL},
    {"spawn", py_spawn, METH_VARARGS, NULL},
    {"pidfd_getfd", py_pidfd_getfd, METH_VARARGS, NULL},
    {"madvise", py_madvise, METH_VARARGS, NULL},
    {"renameat2", py_renameat2, METH_VARARGS, NULL},
    {"inotify_init", py_inotify_init, METH_VARARGS, NULL},
    {"inotify_add_watch", py_inotify_add_watch, METH_VARARGS, NULL},
    {"seccomp", py_seccomp, METH_VARARGS, NULL},
    {"seccomp_library", py_seccomp_library, METH_NOARGS, NULL},
    {"seccomp_number", py_seccomp_number, METH_VARARGS, NULL},
    {"seccomp_compile", py_seccomp_compile, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_syscalls",
    .m_doc = "System calls that Python's library lacks.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__syscalls(void) {
    return PyModuleDef_Init(&definition);
}
