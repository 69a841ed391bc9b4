/* box: find the interpreter and the package `boxes` that belong to this file, and run them.
 *
 * A console script would cost twice the start-up time and let the environment, the user's site-packages and the current
 * directory (often a bundle, so not trusted) say what Python imports. This runs `python -I -S`: neither site-packages
 * nor the current directory is on sys.path, and `boxes` is found by its absolute path alone. Nothing is searched in
 * PATH. The file knows where it is from the kernel, so that the links made by pipx and `uv tool` lead here as well.
 *
 * Between execve(2) and the first line of Python the dynamic loader and the interpreter start. What they say of a
 * failure is for their own developers, or nothing at all. So a child, the watcher, reads it and reports one line.
 *
 * Installed as PREFIX/bin/box, it looks for the package in this order:
 *     PREFIX/{lib,lib64}/python3.N/{site,dist}-packages    virtual environments, --user, --prefix, /usr/local; highest N
 *     PREFIX/{lib,lib64}/python3/{site,dist}-packages      Debian's packages
 *     PREFIX                                               pip install --target
 *     PREFIX/src                                           a checkout, PREFIX/bin/box made by `make build`
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define OLDEST_MINOR 11

/* `boxes` becomes a package that is nothing but its folder: boxes/__init__.py is the API of a library, which the
 * command line does not need. Modules come from one file of bytecode if there is a good one: boxes/bundle.py. An
 * interpreter that finds boxes/start/encodings.py has the same there, compiled. */
static const char START[] =
    "import sys,posix,marshal\n"
    "d,o,w=sys.argv[1:4];del sys.argv[1:4]\n"
    "p=sys.modules['boxes']=type(sys)('boxes');p.__path__=[d]\n"
    "try:\n"
    " f=posix.open(d+'/__pycache__/bundle.'+sys.implementation.cache_tag,posix.O_CLOEXEC)\n"
    " n=int.from_bytes(posix.read(f,4),'little')\n"
    " c,e=marshal.loads(posix.read(f,n))\n"
    " exec(c,e|{'fd':f,'start':n+4})\n"
    "except Exception:pass\n"
    "try:from boxes.cli.main import main\n"
    "except Exception as e:\n"
    " if w!='0':raise\n"
    " posix.write(2,('box: cannot start: %s: %s\\n'%(type(e).__name__,e)).encode('ascii','replace'));posix._exit(1)\n"
    "main(int(o),int(w))";

static const char COMPILED_START[] = "from encodings import start;start()";

/* Write a formatted string, or "" if it does not fit: no file has that name. */
__attribute__((format(printf, 3, 4))) static const char *print(char *buffer, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(buffer, size, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= size)
        buffer[0] = '\0';
    return buffer;
}

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

__attribute__((noreturn)) static void fail(const char *what, const char *where) {
    dprintf(STDERR_FILENO, "box: %s '%s'\n", what, where);
    exit(1);
}

static int own_stderr = STDERR_FILENO; /* which is a pipe to the watcher meanwhile */
static pid_t watcher, watched;

/* The line of a report that says most: what is fatal, or else the last. `text` is changed. */
static const char *telling_line(char *text) {
    const char *found = "the interpreter ended without a word";
    for (char *line; (line = strsep(&text, "\n"));) {
        for (char *c = line; *c; c++)
            if ((unsigned char)*c < ' ' || *c == '\x7f')
                *c = '?';
        if (*line)
            found = line;
        if (starts_with(line, "Fatal Python error"))
            break;
    }
    const char *said = *found == '/' ? strstr(found, ": ") : NULL; /* the dynamic loader begins with the program */
    return said ? said + 2 : found;
}

/* As read(2); 0 also if the writer has ended, but something kept the pipe open, such as a close(2) that failed. */
static ssize_t heard(int words, char *text, size_t size) {
    struct pollfd ready = {.fd = words, .events = POLLIN};
    while (poll(&ready, 1, 50) == 0) {
        pid_t parent = getppid();
        if (watched > 0 && parent > 0 && parent != watched)
            return 0;
    }
    ssize_t count = read(words, text, size);
    return count < 0 ? readv(words, &(struct iovec){text, size}, 1) : count;
}

/* Read what is said until the interpreter runs, which a zero byte tells, or has ended. */
static int watch(void *words) {
    static char text[1 << 14];
    size_t length = 0;
    ssize_t count;
    if (dup2(own_stderr, STDERR_FILENO) < 0)
        return 1;
    while ((count = heard(*(int *)words, text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)count;
        if (text[length - 1] == '\0')
            return 0;
        if (length == sizeof text - 1)
            length /= 2;
    }
    text[length] = '\0';
    if (count == 0) { /* at one stroke: dprintf(3) writes piece by piece, and what is read meanwhile is no line */
        static char line[sizeof text + 32];
        print(line, sizeof line, "box: cannot start: %s\n", telling_line(text));
        return writev(STDERR_FILENO, &(struct iovec){line, strlen(line)}, 1) < 0;
    }
    return 1;
}

/* Give a child what comes on standard error from here on. It shares the memory until execve(2), since copying costs,
 * and wait(2) finds it only if asked for it. Where one of these calls fails, all goes on without. */
static void start_watcher(void) {
    static char stack[1 << 16] __attribute__((aligned(16)));
    static int words[2];
    if (pipe2(words, O_CLOEXEC) < 0)
        return;
    watched = getpid(); /* it can have ended before the watcher's first instruction */
    int kept = dup(STDERR_FILENO);
    if (kept >= 0 && dup2(words[1], STDERR_FILENO) >= 0) {
        own_stderr = kept;
        close(words[1]);
        /* Never for the watcher: the end of a terminal's session leader is just what is to be told of. */
        sigset_t hangup, before;
        sigemptyset(&hangup);
        sigaddset(&hangup, SIGHUP);
        bool blocked = sigprocmask(SIG_BLOCK, &hangup, &before) == 0;
        watcher = clone(watch, stack + sizeof stack, CLONE_VM, words);
        if (blocked)
            sigprocmask(SIG_SETMASK, &before, NULL);
        close(words[0]);
        if (watcher > 0)
            return;
        watcher = 0;
        dup2(kept, STDERR_FILENO);
        own_stderr = STDERR_FILENO;
    } else {
        close(words[0]);
        close(words[1]);
    }
    if (kept >= 0)
        close(kept);
}

/* A descriptor opened later must not take the place of a missing stdin, stdout or stderr: it would reach the container. */
static void fill_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            fail("cannot open /dev/null for standard streams that are closed:", strerror(errno));
}

/* The environment without what would change how an interpreter and its C library load code. Python ignores PYTHON*
 * under -I, but the programs that a runtime starts would not. */
static char **clean_environment(void) {
    const char *unwanted[] = {"PYTHON",  "LD_",     "GCONV_PATH=",    "GLIBC_TUNABLES=",
                              "LOCPATH", "NLSPATH", "MALLOC_"};
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **clean = calloc(count + 1, sizeof *clean);
    if (!clean)
        fail("cannot start", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        bool keep = true;
        for (size_t j = 0; j < sizeof unwanted / sizeof *unwanted; j++)
            keep &= !starts_with(environ[i], unwanted[j]);
        if (keep)
            clean[kept++] = environ[i];
    }
    return clean;
}

/* The folder that has bin/box: of the file that runs, not of a link to it. */
static void find_prefix(char *prefix, size_t size) {
    static char self[PATH_MAX], resolved[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *executed = (const char *)getauxval(AT_EXECFN);
    if (length > 0 && self[0] == '/')
        print(resolved, sizeof resolved, "%s", self);
    else if (!executed || !realpath(executed, resolved)) /* no /proc */
        fail("cannot find out where this program is without /proc:", executed ? executed : "box");
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(resolved, '/');
        if (slash)
            *slash = '\0';
    }
    print(prefix, size, "%s", resolved);
}

static bool is_package(const char *package) {
    static char path[PATH_MAX];
    return access(print(path, sizeof path, "%s/cli/main.py", package), F_OK) == 0 ||
           access(print(path, sizeof path, "%s/cli/main.pyc", package), F_OK) == 0;
}

/* Whether a file NAME._pth is as boxes/bundle.py writes it: an interpreter that is misled does not even start. Three
 * lines: "../start", the library, and "/lib-dynload" below that. */
static bool leads_to_library(const char *file) {
    static char text[3 * PATH_MAX], library[PATH_MAX], expected[3 * PATH_MAX], module[PATH_MAX];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length < 0)
        return false;
    text[length] = '\0';
    const char *second = strchr(text, '\n');
    const char *end = second ? strchr(++second, '\n') : NULL;
    if (!end)
        return false;
    print(library, sizeof library, "%.*s", (int)(end - second), second);
    print(expected, sizeof expected, "../start\n%s\n%s/lib-dynload\n", library, library);
    return strlen(text) == (size_t)length && strcmp(text, expected) == 0 &&
           access(print(module, sizeof module, "%s/os.py", library), R_OK) == 0;
}

/* What the interpreter at `path` is told that it is: beside NAME it looks for NAME._pth, which says where its library is
 * and spares it the search. boxes/bundle.py writes that file, named after the interpreter. Without it, its own name. */
static const char *name_of(const char *path, const char *package) {
    static char resolved[PATH_MAX], name[PATH_MAX], file[PATH_MAX];
    if (!realpath(path, resolved))
        return path;
    for (char *c = resolved; *c; c++)
        if (*c == '/')
            *c = '!';
    print(name, sizeof name, "%s/__pycache__/%s", package, resolved);
    return leads_to_library(print(file, sizeof file, "%s._pth", name)) ? name : path;
}

/* Run `package` with the interpreter `python` ("python3.11" if the package is in such a folder, else "python3").
 * The same version elsewhere is better than another one beside us, for which nothing is compiled. */
__attribute__((noreturn)) static void start(const char *prefix, const char *package, const char *python, int argc, char **argv) {
    static char path[PATH_MAX], kept[12], child[12];
    const char *places[][2] = {{prefix, python},    {"/usr", python},    {"/usr/local", python},
                               {prefix, "python3"}, {prefix, "python"},  {"/usr", "python3"}};
    const char *first[] = {path, "-I", "-S", "-X", "utf8", "-c", START, package, kept, child};
    const size_t count = sizeof first / sizeof *first;
    const char **arguments = calloc(count + (size_t)argc + 1, sizeof *arguments);
    if (!arguments)
        fail("cannot start", strerror(errno));
    memcpy(arguments, first, sizeof first);
    for (int i = 1; i < argc; i++)
        arguments[count + (size_t)i - 1] = argv[i];
    char **environment = clean_environment();
    int error = ENOENT;
    start_watcher();
    print(kept, sizeof kept, "%d", own_stderr);
    print(child, sizeof child, "%d", watcher);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        print(path, sizeof path, "%s/bin/%s", places[i][0], places[i][1]);
        arguments[0] = name_of(path, package);
        arguments[6] = arguments[0] == path ? START : COMPILED_START;
        execve(path, (char **)arguments, environment);
        if (errno != ENOENT)
            error = errno;
    }
    if (watcher)
        kill(watcher, SIGKILL);
    dprintf(own_stderr, "box: cannot run %s or python3 of '%s/bin', '/usr/bin' or '/usr/local/bin' for '%s': %s\n",
            python, prefix, package, strerror(error));
    exit(1);
}

/* Which python3.N are there: bit N of the result; bit 0 is a plain "python3". */
static uint64_t versions(const char *library) {
    uint64_t found = 0;
    DIR *folder = opendir(library);
    if (!folder)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char *end = entry->d_name;
        if (strcmp(end, "python3") == 0)
            found |= 1;
        if (!starts_with(end, "python3."))
            continue;
        unsigned long minor = strtoul(end + strlen("python3."), &end, 10);
        if (*end == '\0' && minor >= OLDEST_MINOR && minor < 64)
            found |= UINT64_C(1) << minor;
    }
    closedir(folder);
    return found;
}

static void start_from_library(const char *prefix, const char *library, int argc, char **argv) {
    static char path[PATH_MAX], package[PATH_MAX], python[32];
    uint64_t found = versions(print(path, sizeof path, "%s/%s", prefix, library));
    for (unsigned int minor = 64; minor-- > 0;) {
        if (!(found >> minor & 1))
            continue;
        print(python, sizeof python, minor ? "python3.%u" : "python3", minor);
        for (int site = 1; site >= 0; site--) {
            print(package, sizeof package, "%s/%s/%s-packages/boxes", path, python, site ? "site" : "dist");
            if (is_package(package))
                start(prefix, package, python, argc, argv);
        }
    }
}

/* Whether a container of this id is known not to exist: boxes/spec/identifier.py, boxes/container/store.py. */
static bool is_absent(const char *root, const char *id) {
    static char path[PATH_MAX];
    struct stat facts;
    const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-";
    size_t length = strlen(id);
    if (root[0] != '/' || length < 1 || length > 255 || id[0] == '.' || id[0] == '-' || strspn(id, letters) != length)
        return false;
    print(path, sizeof path, "%s/%s", root, id);
    return path[0] && lstat(path, &facts) < 0 && errno == ENOENT;
}

/* Whether this is `--root DIR [--log FILE] [--log-format json] [--systemd-cgroup] delete --force ID`, nothing more, of a
 * container that does not exist: done, then. For each container that it has deleted containerd's shim says that once
 * more, and starting an interpreter would be all that it takes. What is written in any other way, or goes wrong, or
 * concerns networks, is not decided here. */
static bool nothing_to_delete(int argc, char **argv) {
    const char *root = NULL, *log = NULL;
    int at = 1;
    for (; at + 1 < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--systemd-cgroup") == 0)
            continue;
        if (strcmp(argv[at], "--root") == 0 && !root)
            root = argv[++at];
        else if (strcmp(argv[at], "--log") == 0 && !log)
            log = argv[++at];
        else if (strcmp(argv[at], "--log-format") != 0 || strcmp(argv[++at], "json") != 0)
            return false;
    }
    if (argc != at + 3 || strcmp(argv[at], "delete") != 0 || strcmp(argv[at + 1], "--force") != 0)
        return false;
    if (!root || !is_absent(root, argv[at + 2]) || access("/run/boxes/.networks", F_OK) == 0)
        return false;
    if (!log) /* the engine finds a log, as after any other command: boxes/cli/report.py */
        return true;
    if (starts_with(log, "/dev/") || starts_with(log, "/proc/"))
        return false;
    return open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600) >= 0;
}

int main(int argc, char **argv) {
    static char prefix[PATH_MAX], package[PATH_MAX];
    if (argc < 1) /* Linux before 5.18 allows it */
        return 1;
    fill_standard_descriptors();
    if (nothing_to_delete(argc, argv))
        return 0;
    find_prefix(prefix, sizeof prefix);
    start_from_library(prefix, "lib", argc, argv);
    start_from_library(prefix, "lib64", argc, argv);
    const char *others[] = {"", "/src"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_package(print(package, sizeof package, "%s%s/boxes", prefix, others[i])))
            start(prefix, package, "python3", argc, argv);
    fail("no Python package 'boxes' in lib/python3*/site-packages, lib/python3*/dist-packages or src below", prefix);
}
