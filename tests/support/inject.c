/* Runs a command with all its descendants traced, and lets one of their system calls fail, or ends a process there.
 *
 *     inject LOG TASK CALL NUMBER WHAT COMMAND…
 *
 * WHAT is "record": nothing is done, and LOG gets a line "TASK CALL" for each system call; "error=E": the call is not
 * carried out and fails with errno E; "late=E": it fails so, but has been carried out, as close(2) is; "always=E": it
 * fails, and so do all that come after it; "signal=S": the process gets S, and the call is not carried out. brk(2) has an
 * error of its own. TASK counts the processes and threads in the order of their birth, from 0, the command; -1 is any of
 * them, each counting for itself. CALL is a number, NUMBER counts from 1.
 *
 * LOG gets "done" when it was done. The exit status is the command's, or 128 and the signal that ended it. What still
 * runs when the command has ended goes on untraced. strace(1) could do most of this, but cannot tell the tasks apart.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers are those of x86-64"
#endif
#define GET_SYSCALL_INFO 0x420e
#define EVENT_STOP 128
enum { TASKS = 512, CALLS = 1024 };

struct info { /* struct ptrace_syscall_info of <linux/ptrace.h>, as far as it is needed */
    uint8_t op, pad[3];
    uint32_t arch;
    uint64_t instruction_pointer, stack_pointer, number, arguments[6];
};
struct task {
    pid_t pid;
    int struck; /* the call it is in is the one */
    unsigned long long kept; /* the argument that was changed */
    unsigned counts[CALLS];
};

static struct task *tasks[TASKS];
static int born;
static int armed; /* the command has been executed */
static FILE *report;
static int wanted_task;
static long wanted_call;
static unsigned wanted_number;
static int error, late, always, number_of_signal, recording;

static _Noreturn void die(const char *what) {
    perror(what);
    exit(125);
}

static int index_of(pid_t pid) {
    for (int i = born; i-- > 0;)
        if (tasks[i]->pid == pid)
            return i;
    if (born == TASKS)
        die("too many tasks");
    tasks[born] = calloc(1, sizeof(struct task));
    tasks[born]->pid = pid;
    return born++;
}

static int is_wanted(int index, long call, unsigned number) {
    return (wanted_task < 0 || wanted_task == index) && wanted_call == call &&
        (always ? number >= wanted_number : number == wanted_number);
}

static void on_entry(int index, const struct info *info) {
    long call = (long)info->number;
    struct task *task = tasks[index];
    if (!armed || call < 0 || call >= CALLS)
        return;
    unsigned number = ++task->counts[call];
    if (recording)
        fprintf(report, "%d %ld\n", index, call);
    else if (is_wanted(index, call, number)) {
        fprintf(report, "done\n");
        fflush(report);
        struct user_regs_struct registers;
        if (number_of_signal && syscall(SYS_tkill, task->pid, number_of_signal) < 0)
            perror("tkill");
        task->struck = error != 0;
        if (late || number_of_signal == SIGKILL || ptrace(PTRACE_GETREGS, task->pid, 0, &registers) < 0)
            return;
        if (call == SYS_brk) {
            task->kept = registers.rdi;
            registers.rdi = 0; /* it answers with what is in force, which is how the kernel refuses */
        } else
            registers.orig_rax = (unsigned long long)-1;
        ptrace(PTRACE_SETREGS, task->pid, 0, &registers);
    }
}

static void on_exit_of_call(struct task *task) {
    struct user_regs_struct registers;
    if (!task->struck || ptrace(PTRACE_GETREGS, task->pid, 0, &registers) < 0)
        return;
    task->struck = 0;
    if (wanted_call == SYS_brk)
        registers.rdi = task->kept;
    else
        registers.rax = (unsigned long long)-error;
    ptrace(PTRACE_SETREGS, task->pid, 0, &registers);
}

static void on_call(int index) {
    struct info info;
    memset(&info, 0, sizeof info);
    if (ptrace(GET_SYSCALL_INFO, tasks[index]->pid, sizeof info, &info) < 0)
        return;
    if (info.op == 1)
        on_entry(index, &info);
    else if (info.op == 2)
        on_exit_of_call(tasks[index]);
}

/* What a stopped task is let go on with: a request of ptrace(2), and the signal it is to take. */
static int on_stop(pid_t pid, int status, int *deliver) {
    int index = index_of(pid), signal = WSTOPSIG(status), event = status >> 16;
    unsigned long child;
    *deliver = 0;
    switch (event) {
    case PTRACE_EVENT_FORK: case PTRACE_EVENT_VFORK: case PTRACE_EVENT_CLONE:
        if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &child) == 0)
            index_of((pid_t)child);
        break;
    case PTRACE_EVENT_EXEC:
        armed = 1;
        break;
    case EVENT_STOP:
        if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)
            return PTRACE_LISTEN;
        break;
    case 0:
        if (signal == (SIGTRAP | 0x80))
            on_call(index);
        else
            *deliver = signal;
    }
    return PTRACE_SYSCALL;
}

static int follow(pid_t command) {
    for (;;) {
        int status, deliver;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) {
            if (errno == EINTR)
                continue;
            die("waitpid");
        }
        if (WIFSTOPPED(status)) {
            int request = on_stop(pid, status, &deliver);
            ptrace(request, pid, 0, deliver); /* it may be dead by now */
            continue;
        }
        tasks[index_of(pid)]->pid = -1; /* the number can come again */
        if (pid == command)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static void parse(char **argv) {
    wanted_task = atoi(argv[2]);
    wanted_call = atol(argv[3]);
    wanted_number = (unsigned)atol(argv[4]);
    recording = strcmp(argv[5], "record") == 0;
    late = sscanf(argv[5], "late=%d", &error) == 1;
    always = sscanf(argv[5], "always=%d", &error) == 1;
    if (!recording && !late && !always && sscanf(argv[5], "error=%d", &error) != 1 && sscanf(argv[5], "signal=%d", &number_of_signal) != 1) {
        fprintf(stderr, "inject: what is '%s'?\n", argv[5]);
        exit(125);
    }
}

int main(int argc, char **argv) {
    int gate[2];
    if (argc < 7)
        return 125;
    parse(argv);
    report = fopen(argv[1], "we");
    if (!report || pipe2(gate, O_CLOEXEC) < 0)
        die(argv[1]);
    pid_t command = fork();
    if (command == 0) {
        char byte;
        if (close(gate[1]) < 0 || read(gate[0], &byte, 1) != 0)
            _exit(125);
        execv(argv[6], argv + 6);
        _exit(126);
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
    if (command < 0 || ptrace(PTRACE_SEIZE, command, 0, options) < 0)
        die("ptrace");
    index_of(command);
    close(gate[0]);
    close(gate[1]);
    int status = follow(command);
    fclose(report);
    return status;
}
